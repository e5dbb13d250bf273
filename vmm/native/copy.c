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

enum { SCRATCH_BYTES = 8192, PATH_AT = 512, FILTER_AT = 1024 };

#define CALL(c, s, what, result, ...) inject((c)->pid, &(c)->base, (s)->syscall_at, what, result, __VA_ARGS__)

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
  /* Below the red zone of the stack, which is the copy's own now. */
  c->scratch = (first->regs.rsp - SCRATCH_BYTES) & ~63UL;
  return true;
}

static bool move_onto(struct source *s, struct copy *c, long fd, long onto, long flags) {
  long done;
  return CALL(c, s, "dup3", &done, SYS_dup3, fd, onto, flags, 0L, 0L, 0L) && CALL(c, s, "close", &done, SYS_close, fd, 0L, 0L, 0L, 0L, 0L);
}

static bool unix_socket(struct source *s, struct copy *c, const char *path, bool listening, long onto) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  long fd, done;
  if (strlen(path) >= sizeof address.sun_path) return fail("socket path too long: %s", path);
  strcpy(address.sun_path, path);
  if (!poke(c->pid, c->scratch, &address, sizeof address)) return false;
  if (!CALL(c, s, "socket", &fd, SYS_socket, (long)AF_UNIX, (long)(SOCK_STREAM | SOCK_CLOEXEC), 0L, 0L, 0L, 0L)) return false;
  if (listening) {
    if (!CALL(c, s, path, &done, SYS_bind, fd, c->scratch, (long)sizeof address, 0L, 0L, 0L)) return false;
    if (!CALL(c, s, "listen", &done, SYS_listen, fd, 1L, 0L, 0L, 0L, 0L)) return false;
  } else if (!CALL(c, s, path, &done, SYS_connect, fd, c->scratch, (long)sizeof address, 0L, 0L, 0L)) {
    return false;
  }
  if (!CALL(c, s, "fcntl", &done, SYS_fcntl, fd, (long)F_SETFL, (long)O_NONBLOCK, 0L, 0L, 0L)) return false;
  return move_onto(s, c, fd, onto, O_CLOEXEC);
}

static bool log_file(struct source *s, struct copy *c, const char *path, long onto) {
  long fd;
  size_t size = strlen(path) + 1;
  if (size > FILTER_AT) return fail("path too long: %s", path);
  if (!poke(c->pid, c->scratch, path, size)) return false;
  if (!CALL(c, s, path, &fd, SYS_openat, (long)AT_FDCWD, c->scratch, (long)(O_WRONLY | O_APPEND | O_CREAT), 0600L, 0L, 0L)) return false;
  return move_onto(s, c, fd, onto, 0);
}

/* Counters that threads wake each other with must not be the source's. */
static bool private_events(struct source *s, struct copy *c) {
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
    long onto = atol(entry->d_name), fd;
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
      fine = CALL(c, s, "eventfd", &fd, SYS_eventfd2, count, (long)(flags & (O_NONBLOCK | O_CLOEXEC)), 0L, 0L, 0L, 0L) &&
             move_onto(s, c, fd, onto, flags & O_CLOEXEC);
    } else if (!strcmp(target, "anon_inode:[eventpoll]")) {
      fine = CALL(c, s, "epoll", &fd, SYS_epoll_create1, (long)O_CLOEXEC, 0L, 0L, 0L, 0L, 0L) && move_onto(s, c, fd, onto, O_CLOEXEC);
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
static bool confine(struct source *s, struct copy *c) {
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
  } program = {sizeof code / sizeof *code, (void *)(c->scratch + FILTER_AT)};
  long done;
  return poke(c->pid, c->scratch, &program, sizeof program) && poke(c->pid, c->scratch + FILTER_AT, code, sizeof code) &&
         CALL(c, s, "no_new_privs", &done, SYS_prctl, (long)PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L, 0L) &&
         CALL(c, s, "seccomp", &done, SYS_seccomp, (long)SECCOMP_SET_MODE_FILTER, 0L, c->scratch, 0L, 0L, 0L);
}

/* Every other thread, made anew on its own stack and control block, in the call in which the source's stands. */
static bool make_threads(struct source *s, struct copy *c) {
  pid_t made[MAX_THREADS] = {c->pid};
  for (int i = 1; i < s->thread_count; i++) {
    const registers *regs = &s->threads[i].regs;
    unsigned long id_at = regs->fs_base + (unsigned long)s->tid_offset;
    if (!inject_clone(c->pid, &c->base, s->syscall_at,
                      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                          CLONE_CHILD_CLEARTID,
                      regs->rsp, id_at, id_at, regs->fs_base, &made[i]))
      return false;
    c->threads[c->thread_count++] = made[i];
  }
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

/* Fields: connect FD PATH · listen FD PATH · log FD PATH · name OLD NEW · confine */
bool copy_finish(struct source *s, struct copy *c, int field_count, char **fields) {
  for (int i = 0; i < field_count; i += 3) {
    const char *what = fields[i];
    if (!strcmp(what, "confine")) {
      i -= 2;
      if (!confine(s, c)) return false;
      continue;
    }
    if (i + 2 >= field_count) return fail("'%s' wants two more words", what);
    long fd = atol(fields[i + 1]);
    bool fine = !strcmp(what, "connect")  ? unix_socket(s, c, fields[i + 2], false, fd)
                : !strcmp(what, "listen") ? unix_socket(s, c, fields[i + 2], true, fd)
                : !strcmp(what, "log")    ? log_file(s, c, fields[i + 2], fd)
                : !strcmp(what, "name")   ? rename_arguments(c, fields[i + 1], fields[i + 2])
                                          : fail("unknown word '%s'", what);
    if (!fine) return false;
  }
  return private_events(s, c) && make_threads(s, c);
}
