/* What makes a copied process one of its own: descriptors, name, system calls it may use, threads. */
#define _GNU_SOURCE
#include "vmfork.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a copy is told to do. A file has so much to say that it is not on the stack. */
static struct script script;

#define CALL(what, number, ...) script_call(&script, what, number, __VA_ARGS__)

/* Guest memory is marked not to be copied by fork(2), but for that of a copy. Looked for before anything stands still: the kernel
 * walks all page tables for it. */
bool find_uncopied(struct source *s) {
  unsigned long low = 0, high = 0;
  char path[64], line[1024];
  s->area_count = 0;
  snprintf(path, sizeof path, "/proc/%d/smaps", s->pid);
  FILE *areas = fopen(path, "r");
  if (!areas) return fail_errno(path);
  while (fgets(line, sizeof line, areas)) {
    unsigned long a, b;
    char separator;
    if (!strncmp(line, "VmFlags:", 8)) {
      if (strstr(line, " dc") && s->area_count < MAX_AREAS) {
        s->area_from[s->area_count] = low;
        s->area_to[s->area_count++] = high;
      }
    } else if (sscanf(line, "%lx-%lx%c", &a, &b, &separator) == 3 && separator == ' ') {
      low = a;
      high = b;
    }
  }
  fclose(areas);
  return true;
}

static bool allow_copying(struct source *s) {
  long done;
  for (int i = 0; i < s->area_count; i++)
    if (!inject(s->pid, &s->threads[0].regs, s->syscall_at, "allow its memory to be copied", &done, SYS_madvise, s->area_from[i],
                s->area_to[i] - s->area_from[i], (long)MADV_DOFORK, 0L, 0L, 0L))
      return false;
  s->area_count = 0;
  return true;
}

/* Leaves the first thread as if nothing had been done with it: should this program end now, it goes on unharmed. */
static bool rest(struct source *s) {
  registers regs = restarted(s->threads[0].regs);
  if (ptrace(PTRACE_SETREGS, s->pid, 0, &regs)) return fail_errno("set registers");
  return true;
}

bool copy_begin(struct source *s, struct copy *c) {
  const struct thread *first = &s->threads[0];
  if (!s->frozen) return fail("the source is not frozen");
  if (!allow_copying(s)) {
    rest(s);
    return false;
  }
  /* A sibling of the source, so that whoever started the one may wait for the other. The id of its first thread changes. */
  bool made = inject_clone(s->pid, &first->regs, s->syscall_at, CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, 0, 0,
                           first->regs.fs_base + (unsigned long)s->tid_offset, 0, &c->pid);
  if (!rest(s) || !made) return false;
  if (ptrace(PTRACE_SETOPTIONS, c->pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL))
    return fail_errno("hold on to the copy");
  c->base = first->regs;
  c->thread_count = 0;
  return true;
}

/* `fd` was the lowest free descriptor and is so again behind this. */
static bool move_onto(long fd, long onto, long flags) {
  return CALL("dup3", SYS_dup3, fd, onto, flags, 0, 0, 0) && CALL("close", SYS_close, fd, 0, 0, 0, 0, 0);
}

static bool unix_socket(long fd, const char *path, bool listening, long onto) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return fail("socket path too long: %s", path);
  strcpy(address.sun_path, path);
  long at = (long)script_data(&script, &address, sizeof address);
  if (!at) return fail("too many sockets");
  /* One that connects waits for its turn, and is told not to wait only then. */
  long type = SOCK_STREAM | SOCK_CLOEXEC | (listening ? SOCK_NONBLOCK : 0);
  return CALL("socket", SYS_socket, AF_UNIX, type, 0, 0, 0, 0) && script_expect(&script, fd) &&
         (listening ? CALL(path, SYS_bind, fd, at, sizeof address, 0, 0, 0) && CALL("listen", SYS_listen, fd, 1, 0, 0, 0, 0)
                    : CALL(path, SYS_connect, fd, at, sizeof address, 0, 0, 0) && CALL("fcntl", SYS_fcntl, fd, F_SETFL, O_NONBLOCK, 0, 0, 0)) &&
         move_onto(fd, onto, O_CLOEXEC);
}

static bool log_file(long fd, const char *path, long onto) {
  long at = (long)script_data(&script, path, strlen(path) + 1);
  if (!at) return fail("path too long: %s", path);
  return CALL(path, SYS_openat, AT_FDCWD, at, O_WRONLY | O_APPEND | O_CREAT, 0600, 0, 0) && script_expect(&script, fd) && move_onto(fd, onto, 0);
}

/* Counters that threads wake each other with must not be the source's. */
static bool private_events(struct copy *c, long free_fd) {
  char path[64], link[320], target[64], line[256];
  struct dirent *entry;
  bool fine = true;
  snprintf(path, sizeof path, "/proc/%d/fd", c->pid);
  DIR *fds = opendir(path);
  if (!fds) return fail_errno(path);
  while (fine && (entry = readdir(fds))) {
    snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
    ssize_t size = readlink(link, target, sizeof target - 1);
    if (size <= 0) continue;
    target[size] = 0;
    long onto = atol(entry->d_name);
    if (!strcmp(target, "anon_inode:[io_uring]")) {
      fine = fail("it uses io_uring, which cannot be copied");
    } else if (!strcmp(target, "anon_inode:[eventfd]")) {
      unsigned long count = 0, flags = 0;
      snprintf(link, sizeof link, "/proc/%d/fdinfo/%s", c->pid, entry->d_name);
      FILE *info = fopen(link, "r");
      if (!info) {
        fine = fail_errno(link);
        break;
      }
      while (fgets(line, sizeof line, info)) {
        sscanf(line, "eventfd-count: %lx", &count);
        sscanf(line, "flags: %lo", &flags);
      }
      fclose(info);
      fine = CALL("eventfd", SYS_eventfd2, (long)count, (long)(flags & (O_NONBLOCK | O_CLOEXEC)), 0, 0, 0, 0) &&
             script_expect(&script, free_fd) && move_onto(free_fd, onto, flags & O_CLOEXEC);
    } else if (!strcmp(target, "anon_inode:[eventpoll]")) {
      fine = CALL("epoll", SYS_epoll_create1, O_CLOEXEC, 0, 0, 0, 0, 0) && script_expect(&script, free_fd) &&
             move_onto(free_fd, onto, O_CLOEXEC);
    }
  }
  closedir(fds);
  return fine;
}

/* The arguments shown by ps(1), in which the id of the copy takes the place of the source's: of the same length. */
static bool rename_arguments(struct copy *c, const char *old, const char *new) {
  char path[64], line[2048];
  unsigned long from = 0, to = 0;
  size_t id = strlen(old);
  if (!id || strlen(new) != id) return fail("the ids %s and %s differ in length", old, new);
  snprintf(path, sizeof path, "/proc/%d/stat", c->pid);
  FILE *stat = fopen(path, "r");
  if (!stat) return fail_errno(path);
  char *rest = fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;
  fclose(stat);
  /* arg_start and arg_end are fields 48 and 49 of proc_pid_stat(5); the one behind the name is field 3. */
  if (rest) rest++;
  for (int field = 3; rest && field <= 49; field++) {
    unsigned long value = 0;
    rest = strchr(rest, ' ');
    if (!rest) break;
    value = strtoul(++rest, NULL, 10);
    if (field == 48) from = value;
    if (field == 49) to = value;
  }
  if (!from || to <= from || to - from > (1u << 20)) return fail("the arguments of the copy cannot be found");
  size_t size = to - from;
  char *text = malloc(size);
  if (!text) return fail("no memory");
  struct iovec local = {text, size}, remote = {(void *)from, size};
  bool fine = process_vm_readv(c->pid, &local, 1, &remote, 1, 0) == (ssize_t)size || fail_errno("read the copy's arguments");
  if (fine) {
    for (size_t i = 0; i + id <= size; i++)
      if (!memcmp(text + i, old, id)) memcpy(text + i, new, id);
    fine = poke(c->pid, from, text, size);
  }
  free(text);
  return fine;
}

/* Takes the place of QEMU's own `-sandbox spawn=deny`, which would forbid us to copy it. No program is ever started; a new process
 * is made only under a tracer that says so, which is this program: without one the call fails. Threads are free. */
static bool confine(void) {
#define ON(nr, action) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, action)
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      /* The x32 numbers of the same calls. */
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      ON(SYS_execve, SECCOMP_RET_KILL_PROCESS),
      ON(SYS_execveat, SECCOMP_RET_KILL_PROCESS),
      ON(SYS_ptrace, SECCOMP_RET_KILL_PROCESS),
      ON(SYS_process_vm_readv, SECCOMP_RET_KILL_PROCESS),
      ON(SYS_process_vm_writev, SECCOMP_RET_KILL_PROCESS),
      ON(SYS_fork, SECCOMP_RET_TRACE),
      ON(SYS_vfork, SECCOMP_RET_TRACE),
      ON(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS), /* its flags are out of a filter's sight; the C library then uses clone */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct {
    unsigned short length;
    struct sock_filter *filter;
  } program = {sizeof code / sizeof *code, NULL};
  unsigned long filter_at = script_data(&script, code, sizeof code);
  program.filter = (void *)filter_at;
  long at = (long)script_data(&script, &program, sizeof program);
  if (!filter_at || !at) return fail("no room for the filter");
  return CALL("no_new_privs", SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) &&
         CALL("seccomp", SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, at, 0, 0, 0);
}

/* Every other thread, made anew on its own stack and control block, in the call in which the source's stands. */
static bool ask_for_threads(struct source *s) {
  for (int i = 1; i < s->thread_count; i++) {
    const registers *regs = &s->threads[i].regs;
    long id_at = (long)regs->fs_base + s->tid_offset;
    if (!CALL("clone", SYS_clone,
              CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                  CLONE_CHILD_CLEARTID,
              (long)regs->rsp, id_at, id_at, (long)regs->fs_base, 0))
      return false;
  }
  return true;
}

static bool start_threads(struct source *s, struct copy *c) {
  if (c->thread_count != s->thread_count - 1) return fail("%d threads were made of %d", c->thread_count, s->thread_count - 1);
  pid_t made[MAX_THREADS] = {c->pid};
  memcpy(made + 1, c->threads, (size_t)c->thread_count * sizeof *made);
  for (int i = 0; i < s->thread_count; i++) {
    struct thread *t = &s->threads[i];
    registers regs = restarted(t->regs);
    struct iovec io = {t->fp, t->fp_size};
    if (ptrace(PTRACE_SETREGS, made[i], 0, &regs) || ptrace(PTRACE_SETREGSET, made[i], NT_X86_XSTATE, &io) ||
        ptrace(PTRACE_SETSIGMASK, made[i], 8, &t->signal_mask))
      return fail_errno("set a thread's state");
  }
  for (int i = 0; i < s->thread_count; i++)
    if (ptrace(PTRACE_DETACH, made[i], 0, 0)) return fail_errno("let a thread go");
  return true;
}

/* The number that the next descriptor of the copy gets. */
static long free_descriptor(const struct copy *c) {
  char path[64];
  for (long fd = 0; fd < MAX_FDS; fd++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%ld", c->pid, fd);
    if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW)) return fd;
  }
  return -1;
}

/* Fields: connect FD PATH · listen FD PATH · log FD PATH · name OLD NEW · confine */
static bool ask(struct copy *c, long free_fd, int field_count, char **fields) {
  for (int i = 0; i < field_count; i += 3) {
    const char *what = fields[i];
    if (!strcmp(what, "confine")) {
      i -= 2;
      if (!confine()) return false;
      continue;
    }
    if (i + 2 >= field_count) return fail("'%s' wants two more words", what);
    long fd = atol(fields[i + 1]);
    bool fine = !strcmp(what, "connect")  ? unix_socket(free_fd, fields[i + 2], false, fd)
                : !strcmp(what, "listen") ? unix_socket(free_fd, fields[i + 2], true, fd)
                : !strcmp(what, "log")    ? log_file(free_fd, fields[i + 2], fd)
                : !strcmp(what, "name")   ? rename_arguments(c, fields[i + 1], fields[i + 2])
                                          : fail("unknown word '%s'", what);
    if (!fine) return false;
  }
  return true;
}

bool copy_finish(struct source *s, struct copy *c, int field_count, char **fields) {
  long free_fd = free_descriptor(c);
  if (free_fd < 0) return fail("the copy has no free descriptor");
  return script_open(&script, s, c) && ask(c, free_fd, field_count, fields) && private_events(c, free_fd) && ask_for_threads(s) &&
         script_run(&script, c) && script_close(&script, s, c) && start_threads(s, c);
}
