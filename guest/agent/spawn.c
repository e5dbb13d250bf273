/* Starting a program without copying the agent: the child borrows its memory until it has exec'ed. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What runs on the borrowed stack never returns from there: a sanitizer would keep its marks on it. */
#define ON_BORROWED_STACK __attribute__((no_sanitize("address", "undefined")))

/* Of descriptors: a stream needs up to three, and what is started has the limit that was there before. */
static struct rlimit before;

void raise_descriptors(void) {
  if (getrlimit(RLIMIT_NOFILE, &before)) return;
  struct rlimit more = {.rlim_cur = MAX_DESCRIPTORS, .rlim_max = before.rlim_max < MAX_DESCRIPTORS ? MAX_DESCRIPTORS : before.rlim_max};
  if (!setrlimit(RLIMIT_NOFILE, &more)) return;
  more = (struct rlimit){.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &more);
}

struct attempt {
  const struct spawn *spawn;
  int error;
  const char *step;
};

ON_BORROWED_STACK static int fail(struct attempt *attempt, const char *step) {
  attempt->error = errno;
  attempt->step = step;
  return 127;
}

ON_BORROWED_STACK static void exec_in_path(const struct spawn *spawn) {
  const char *program = spawn->argv[0];
  if (strchr(program, '/')) {
    execve(program, spawn->argv, spawn->env);
    return;
  }
  const char *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (char *const *e = spawn->env; *e; e++)
    if (!strncmp(*e, "PATH=", 5)) path = *e + 5;
  char candidate[4096];
  size_t name = strlen(program);
  int found = ENOENT;
  while (*path) {
    size_t length = strcspn(path, ":");
    if (length + name + 2 <= sizeof candidate) {
      memcpy(candidate, path, length);
      candidate[length] = '/';
      memcpy(candidate + length + 1, program, name + 1);
      /* An execve that fails has built and torn down an address space first. */
      if (!access(candidate, X_OK)) execve(candidate, spawn->argv, spawn->env);
      if (errno != ENOENT && errno != ENOTDIR) found = errno;
    }
    path += length + (path[length] == ':');
  }
  errno = found;
}

ON_BORROWED_STACK static int child(void *argument) {
  struct attempt *attempt = argument;
  const struct spawn *spawn = attempt->spawn;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  setsid();
  if (before.rlim_cur) setrlimit(RLIMIT_NOFILE, &before);
  /* Out of the way first: a source may sit where another one's target is. */
  int fds[4];
  for (int i = 0; i < 4; i++) {
    int fd = i < 3 ? spawn->fds[i] : spawn->keep_fd;
    fds[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (fd >= 0 && fds[i] < 0) return fail(attempt, "descriptors");
  }
  for (int i = 0; i < 4; i++)
    if (fds[i] >= 0 && dup2(fds[i], i) < 0) return fail(attempt, "descriptors");
  if (spawn->terminal && ioctl(0, TIOCSCTTY, 0)) return fail(attempt, "terminal");
  if (spawn->drop_user) {
    if (setgroups(spawn->group_count, spawn->groups) || setgid(spawn->gid) || setuid(spawn->uid))
      return fail(attempt, "user");
  }
  if (spawn->cwd && chdir(spawn->cwd)) return fail(attempt, "cwd");
  exec_in_path(spawn);
  return fail(attempt, "program");
}

/* clone3 with a stack of its own for the child, which runs `child` and must not return here: the C
 * library has no wrapper that can place a process into a cgroup at birth, and moving it there later
 * costs a grace period of the kernel's. */
static long clone_on_stack(struct clone_args *args, void *argument) {
  long result;
  register void *r12 __asm__("r12") = argument;
  register int (*r13)(void *) __asm__("r13") = child;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r12, %%rdi\n\t"
      "call *%%r13\n\t"
      "mov %%eax, %%edi\n\t"
      "mov %[exit], %%eax\n\t"
      "syscall\n\t"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone3), "D"(args), "S"(sizeof *args), "r"(r12), "r"(r13), [exit] "i"(SYS_exit)
      : "rcx", "r11", "memory");
  return result;
}

bool spawn_process(const struct spawn *spawn, pid_t *pid, const char **step) {
  static char stack[65536] __attribute__((aligned(16)));
  struct attempt attempt = {.spawn = spawn};
  struct clone_args args = {
      .flags = CLONE_VM | CLONE_VFORK,
      .exit_signal = SIGCHLD,
      .stack = (uintptr_t)stack,
      .stack_size = sizeof stack,
  };
  if (spawn->cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (uint64_t)spawn->cgroup_fd;
  }
  sigset_t all, mask;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &mask);
  long result = clone_on_stack(&args, &attempt);
  sigprocmask(SIG_SETMASK, &mask, NULL);
  if (result < 0) {
    errno = (int)-result;
    *step = "process";
    return false;
  }
  if (attempt.step) {
    waitpid((pid_t)result, NULL, 0);
    errno = attempt.error;
    *step = attempt.step;
    return false;
  }
  *pid = (pid_t)result;
  return true;
}

void spawn_close(struct spawn *spawn) {
  for (int i = 0; i < 3; i++)
    if (spawn->fds[i] >= 0 && (i == 0 || spawn->fds[i] != spawn->fds[0])) close(spawn->fds[i]);
}
