/* Copies the process of a paused virtual machine: fork(2), done to somebody else's threads from outside. */
#ifndef FORKD_VMFORK_H
#define FORKD_VMFORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

enum { MAX_THREADS = 128, MAX_FDS = 1024, MAX_AREAS = 64, FP_BYTES = 16384 };

typedef struct user_regs_struct registers;

/* A thread of the source as it stood when it was stopped: inside a system call that can be begun again. */
struct thread {
  pid_t tid;
  registers regs;
  uint64_t signal_mask;
  size_t fp_size;
  char fp[FP_BYTES];
};

/* The process that is copied. Thread 0 is its first one. */
struct source {
  pid_t pid;
  bool owned; /* ours to end: it must not outlive this program */
  bool frozen;
  int thread_count;
  struct thread threads[MAX_THREADS];
  unsigned long syscall_at; /* address of a syscall instruction */
  long tid_offset;          /* where a thread's control block keeps its id, for the C library */
  int area_count;           /* memory that is marked not to be copied */
  unsigned long area_from[MAX_AREAS], area_to[MAX_AREAS];
};

/* A copy under way. */
struct copy {
  pid_t pid;
  registers base; /* from which calls are injected */
  int thread_count; /* made so far, besides the first */
  pid_t threads[MAX_THREADS];
};

enum { MAX_CALLS = 160, CALL_WORDS = 8, DATA_BYTES = 8192, WHAT_BYTES = 256 };

/* Calls that a copy is to make, one after the other, and the data they are about; see script.c. */
struct script {
  int count;
  int64_t calls[MAX_CALLS + 1][CALL_WORDS]; /* number, six arguments, result */
  char what[MAX_CALLS][WHAT_BYTES];         /* for the message, should it fail */
  bool expects[MAX_CALLS];                  /* only one result will do: */
  long expected[MAX_CALLS];
  size_t data_size;
  char data[DATA_BYTES];
  unsigned long at; /* in the copy */
};

/* Why the last thing failed; every function below that returns false has set it. */
extern char problem[512];
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool fail_errno(const char *what);
/* Set by the alarm that rings when a command takes too long: a wait for a process that somebody ends may never return. */
extern volatile bool timed_out;

/* tracee.c: one process under ptrace(2) */
bool freeze(struct source *s);
bool thaw(struct source *s);
bool wait_for(pid_t tid, int *status);
bool wait_stop(pid_t tid, int *status);
registers restarted(registers regs);
bool inject(pid_t tid, const registers *base, unsigned long at, const char *what, long *result, long number, ...);
bool inject_clone(pid_t tid, const registers *base, unsigned long at, unsigned long flags, unsigned long stack, unsigned long parent_tid,
                  unsigned long child_tid, unsigned long tls, pid_t *child);
bool poke(pid_t pid, unsigned long at, const void *data, size_t size);

/* script.c: many calls with one stop */
bool script_open(struct script *x, const struct source *s, struct copy *c);
unsigned long script_data(struct script *x, const void *data, size_t size); /* 0 when there is no room */
bool script_call(struct script *x, const char *what, long number, long a, long b, long c, long d, long e, long f);
bool script_expect(struct script *x, long result); /* of the last call */
bool script_run(struct script *x, struct copy *c); /* and empties it; threads that it makes join the copy's, stopped */
bool script_close(struct script *x, const struct source *s, struct copy *c);

/* copy.c: what makes a copied process one of its own */
bool find_uncopied(struct source *s);
bool copy_begin(struct source *s, struct copy *c);
bool copy_finish(struct source *s, struct copy *c, int field_count, char **fields);

#endif
