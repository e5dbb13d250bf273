/* One process under ptrace(2): stopped where its calls can be begun again, and made to call what we want. */
#define _GNU_SOURCE
#include "vmfork.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What a stopped thread finds in rax when a signal has cut its call short; linux/errno.h keeps these for the kernel itself. */
enum { RESTART_SYS = -512, RESTART_NOINTR = -513, RESTART_NOHAND = -514, RESTART_BLOCK = -516 };

/* A VM that was just paused still ends what it was at; a busy host may take its time about it. */
enum { FREEZE_MILLIS = 500, FIRST_PAUSE_MICROS = 50, LAST_PAUSE_MICROS = 1000, CONTROL_BLOCK_INTS = 512 };

/* While threads come to rest they may make others, which must not be traced before we know of them. */
static long waiting_options(const struct source *s) { return s->owned ? PTRACE_O_EXITKILL : 0; }

/* For the thread that is to fork. */
static long copying_options(const struct source *s) {
  return waiting_options(s) | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACESECCOMP;
}

static int64_t now_millis(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool wait_for(pid_t tid, int *status) {
  while (waitpid(tid, status, __WALL) != tid) {
    if (errno != EINTR) return fail_errno("waitpid");
    if (timed_out) return fail("thread %d did not stop in time", tid);
  }
  return true;
}

bool wait_stop(pid_t tid, int *status) {
  if (!wait_for(tid, status)) return false;
  if (!WIFSTOPPED(*status)) return fail("thread %d has ended", tid);
  return true;
}

static bool seize_new(struct source *s, bool *found) {
  char path[64];
  struct dirent *entry;
  snprintf(path, sizeof path, "/proc/%d/task", s->pid);
  DIR *tasks = opendir(path);
  if (!tasks) return fail_errno(path);
  *found = false;
  while ((entry = readdir(tasks))) {
    pid_t tid = atoi(entry->d_name);
    bool known = tid == 0;
    for (int i = 0; i < s->thread_count; i++) known |= s->threads[i].tid == tid;
    if (known) continue;
    if (s->thread_count == MAX_THREADS) {
      closedir(tasks);
      return fail("more than %d threads", MAX_THREADS);
    }
    if (ptrace(PTRACE_SEIZE, tid, 0, waiting_options(s))) {
      if (errno == ESRCH) continue; /* it ended meanwhile */
      closedir(tasks);
      return fail_errno("trace the process (is kernel.yama.ptrace_scope above 0?)");
    }
    s->threads[s->thread_count++].tid = tid;
    *found = true;
  }
  closedir(tasks);
  return true;
}

static void forget(struct source *s, int i) {
  s->threads[i] = s->threads[--s->thread_count];
}

/* Stops thread i; a worker thread that had nothing to do may be gone. */
static bool interrupt(struct source *s, int i, bool *gone) {
  int status;
  pid_t tid = s->threads[i].tid;
  *gone = false;
  if (ptrace(PTRACE_INTERRUPT, tid, 0, 0)) {
    if (errno != ESRCH) return fail_errno("interrupt a thread");
  }
  if (!wait_for(tid, &status)) return false;
  if (!WIFSTOPPED(status)) {
    if (i == 0) return fail("the process has ended");
    *gone = true;
    return true;
  }
  if (ptrace(PTRACE_GETREGS, tid, 0, &s->threads[i].regs)) return fail_errno("read registers");
  return true;
}

/* In a call that can be begun again as if nothing had been; the first thread in its main loop. */
static bool is_quiet(const struct thread *t, bool first) {
  long long call = (long long)t->regs.orig_rax, result = (long long)t->regs.rax;
  bool waits = call >= 0 && (result == RESTART_SYS || result == RESTART_NOINTR || result == RESTART_NOHAND || result == RESTART_BLOCK);
  return waits && (!first || call == SYS_ppoll || call == SYS_poll || call == SYS_epoll_pwait);
}

static bool stop_all(struct source *s, bool *quiet) {
  bool found = true;
  int stopped = 0;
  *quiet = true;
  while (found) {
    while (stopped < s->thread_count) {
      bool gone;
      if (!interrupt(s, stopped, &gone)) return false;
      if (gone) {
        forget(s, stopped);
        continue;
      }
      *quiet &= is_quiet(&s->threads[stopped], stopped == 0);
      stopped++;
    }
    if (!seize_new(s, &found)) return false;
  }
  return true;
}

static bool save(struct thread *t) {
  struct iovec io = {t->fp, sizeof t->fp};
  if (ptrace(PTRACE_GETSIGMASK, t->tid, 8, &t->signal_mask)) return fail_errno("read a signal mask");
  if (ptrace(PTRACE_GETREGSET, t->tid, NT_X86_XSTATE, &io)) return fail_errno("read floating point registers");
  t->fp_size = io.iov_len;
  return true;
}

/* The C library keeps each thread's id in its control block. Where, is its own business: the one place in which the blocks of
 * two threads hold the ids of just these two. */
static bool find_tid_offset(struct source *s) {
  int first[CONTROL_BLOCK_INTS], second[CONTROL_BLOCK_INTS];
  if (s->thread_count < 2) return fail("a process with one thread is no VM of ours");
  struct iovec local[2] = {{first, sizeof first}, {second, sizeof second}};
  struct iovec remote[2] = {{(void *)s->threads[0].regs.fs_base, sizeof first}, {(void *)s->threads[1].regs.fs_base, sizeof second}};
  if (process_vm_readv(s->pid, local, 2, remote, 2, 0) != sizeof first + sizeof second) return fail_errno("read thread control blocks");
  for (int i = 0; i < CONTROL_BLOCK_INTS; i++)
    if (first[i] == s->pid && second[i] == s->threads[1].tid) {
      s->tid_offset = i * (long)sizeof(int);
      return true;
    }
  return fail("the C library's thread ids were not found");
}

bool freeze(struct source *s) {
  int64_t deadline = now_millis() + FREEZE_MILLIS;
  useconds_t pause = FIRST_PAUSE_MICROS;
  bool found, quiet;
  s->thread_count = 0;
  /* The first thread first: it is the one that goes on to fork. */
  if (ptrace(PTRACE_SEIZE, s->pid, 0, waiting_options(s)))
    return fail_errno("trace the process (is kernel.yama.ptrace_scope above 0?)");
  s->threads[s->thread_count++].tid = s->pid;
  s->frozen = true;
  if (!seize_new(s, &found)) goto failed;
  while (true) {
    if (!stop_all(s, &quiet)) goto failed;
    if (quiet) break;
    if (now_millis() > deadline) {
      fail("its threads did not come to rest within %d ms; is the VM paused?", FREEZE_MILLIS);
      goto failed;
    }
    for (int i = 0; i < s->thread_count; i++)
      if (ptrace(PTRACE_CONT, s->threads[i].tid, 0, 0) && errno != ESRCH) {
        fail_errno("let a thread go on");
        goto failed;
      }
    usleep(pause);
    if (pause < LAST_PAUSE_MICROS) pause *= 2;
  }
  for (int i = 0; i < s->thread_count; i++)
    if (!save(&s->threads[i])) goto failed;
  if (ptrace(PTRACE_SETOPTIONS, s->pid, 0, copying_options(s))) {
    fail_errno("set tracing options");
    goto failed;
  }
  s->syscall_at = s->threads[0].regs.rip - 2;
  errno = 0;
  if ((ptrace(PTRACE_PEEKTEXT, s->pid, s->syscall_at, 0) & 0xffff) != 0x050f || errno) {
    fail("the main loop does not stand behind a syscall instruction");
    goto failed;
  }
  if (!find_tid_offset(s)) goto failed;
  return true;
failed: {
  char why[sizeof problem];
  memcpy(why, problem, sizeof why);
  thaw(s);
  memcpy(problem, why, sizeof why);
  return false;
}
}

bool thaw(struct source *s) {
  if (!s->frozen) return true;
  s->frozen = false;
  for (int i = 0; i < s->thread_count; i++) {
    pid_t tid = s->threads[i].tid;
    if (!ptrace(PTRACE_DETACH, tid, 0, 0) || errno != ESRCH) continue;
    /* Not stopped just now: a freeze that failed half-way. */
    int status;
    if (!ptrace(PTRACE_INTERRUPT, tid, 0, 0) && wait_for(tid, &status)) ptrace(PTRACE_DETACH, tid, 0, 0);
  }
  return true;
}

/* The registers with which a thread goes on whose call was cut short: it calls again, or hears that a timed wait was cut short. */
registers restarted(registers regs) {
  long long result = (long long)regs.rax;
  if ((long long)regs.orig_rax >= 0) {
    if (result == RESTART_SYS || result == RESTART_NOINTR || result == RESTART_NOHAND) {
      regs.rax = regs.orig_rax;
      regs.rip -= 2;
    } else if (result == RESTART_BLOCK) {
      regs.rax = (unsigned long long)-EINTR;
    }
  }
  regs.orig_rax = (unsigned long long)-1;
  return regs;
}

static bool begin(pid_t tid, registers regs, unsigned long at, long number, const long arguments[6]) {
  regs.rip = at;
  regs.orig_rax = (unsigned long long)-1;
  regs.rax = (unsigned long long)number;
  regs.rdi = (unsigned long long)arguments[0];
  regs.rsi = (unsigned long long)arguments[1];
  regs.rdx = (unsigned long long)arguments[2];
  regs.r10 = (unsigned long long)arguments[3];
  regs.r8 = (unsigned long long)arguments[4];
  regs.r9 = (unsigned long long)arguments[5];
  if (ptrace(PTRACE_SETREGS, tid, 0, &regs)) return fail_errno("set registers");
  if (ptrace(PTRACE_SINGLESTEP, tid, 0, 0)) return fail_errno("step");
  return true;
}

/* Waits for the stop behind the call, through one that a seccomp filter makes because the call wants a tracer's leave. */
static bool step_end(pid_t tid, int *event) {
  int status;
  while (true) {
    if (!wait_stop(tid, &status)) return false;
    *event = status >> 16;
    if (*event != PTRACE_EVENT_SECCOMP) return true;
    if (ptrace(PTRACE_SINGLESTEP, tid, 0, 0)) return fail_errno("step");
  }
}

bool inject(pid_t tid, const registers *base, unsigned long at, const char *what, long *result, long number, ...) {
  long arguments[6];
  va_list list;
  int event;
  registers regs;
  va_start(list, number);
  for (int i = 0; i < 6; i++) arguments[i] = va_arg(list, long);
  va_end(list);
  if (!begin(tid, *base, at, number, arguments) || !step_end(tid, &event)) return false;
  if (ptrace(PTRACE_GETREGS, tid, 0, &regs)) return fail_errno("read registers");
  *result = (long)regs.rax;
  if (*result < 0 && *result > -4096) {
    errno = (int)-*result;
    return fail_errno(what);
  }
  return true;
}

bool inject_clone(pid_t tid, const registers *base, unsigned long at, unsigned long flags, unsigned long stack, unsigned long parent_tid,
                  unsigned long child_tid, unsigned long tls, pid_t *child) {
  long arguments[6] = {(long)flags, (long)stack, (long)parent_tid, (long)child_tid, (long)tls, 0};
  int event, status;
  unsigned long made;
  if (!begin(tid, *base, at, SYS_clone, arguments) || !step_end(tid, &event)) return false;
  if (event != PTRACE_EVENT_CLONE && event != PTRACE_EVENT_FORK) {
    registers regs;
    if (ptrace(PTRACE_GETREGS, tid, 0, &regs)) return fail_errno("read registers");
    errno = (int)-(long)regs.rax;
    return fail_errno("clone");
  }
  if (ptrace(PTRACE_GETEVENTMSG, tid, 0, &made)) return fail_errno("learn the new id");
  *child = (pid_t)made;
  if (!wait_stop(*child, &status)) return false;
  if (ptrace(PTRACE_SINGLESTEP, tid, 0, 0)) return fail_errno("step");
  return wait_stop(tid, &status);
}

bool poke(pid_t pid, unsigned long at, const void *data, size_t size) {
  struct iovec local = {(void *)data, size}, remote = {(void *)at, size};
  if (process_vm_writev(pid, &local, 1, &remote, 1, 0) != (ssize_t)size) return fail_errno("write into the copy");
  return true;
}
