/* Many system calls of a copy with one stop. Injected one by one each costs some 60 us, nearly all of it the tracer's and the
 * tracee's taking turns; here the copy makes all of them by itself, from a table, and stops behind the last or the first that fails. */
#define _GNU_SOURCE
#include "vmfork.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { RESULT = CALL_WORDS - 1, END = -1, CODE_BYTES = 64 };

/* r12 points into the table. Position-independent; touches no stack. */
static const unsigned char code[CODE_BYTES] = {
    0x49, 0x8b, 0x04, 0x24,                   /* again: mov (%r12), %rax        the number */
    0x48, 0x85, 0xc0,                         /*        test %rax, %rax */
    0x78, 0x33,                               /*        js over */
    0x49, 0x8b, 0x7c, 0x24, 0x08,             /*        mov 8(%r12), %rdi */
    0x49, 0x8b, 0x74, 0x24, 0x10,             /*        mov 16(%r12), %rsi */
    0x49, 0x8b, 0x54, 0x24, 0x18,             /*        mov 24(%r12), %rdx */
    0x4d, 0x8b, 0x54, 0x24, 0x20,             /*        mov 32(%r12), %r10 */
    0x4d, 0x8b, 0x44, 0x24, 0x28,             /*        mov 40(%r12), %r8 */
    0x4d, 0x8b, 0x4c, 0x24, 0x30,             /*        mov 48(%r12), %r9 */
    0x0f, 0x05,                               /*        syscall */
    0x49, 0x89, 0x44, 0x24, 0x38,             /*        mov %rax, 56(%r12) */
    0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff,       /*        cmp $-4095, %rax */
    0x73, 0x06,                               /*        jae over */
    0x49, 0x83, 0xc4, 0x40,                   /*        add $64, %r12 */
    0xeb, 0xc4,                               /*        jmp again */
    0xcc,                                     /* over:  int3 */
};

static unsigned long table_at(const struct script *x) { return x->at + CODE_BYTES; }
static unsigned long data_at(const struct script *x) { return table_at(x) + sizeof x->calls; }
static size_t mapped_bytes(const struct script *x) { return CODE_BYTES + sizeof x->calls + sizeof x->data; }

bool script_open(struct script *x, const struct source *s, struct copy *c) {
  long at;
  x->count = 0;
  x->data_size = 0;
  if (!inject(c->pid, &c->base, s->syscall_at, "map a page for calls", &at, SYS_mmap, 0L, (long)mapped_bytes(x),
              (long)(PROT_READ | PROT_WRITE | PROT_EXEC), (long)(MAP_PRIVATE | MAP_ANONYMOUS), -1L, 0L))
    return false;
  x->at = (unsigned long)at;
  return poke(c->pid, x->at, code, sizeof code);
}

unsigned long script_data(struct script *x, const void *data, size_t size) {
  if (size > sizeof x->data - x->data_size) return 0;
  unsigned long at = data_at(x) + x->data_size;
  memcpy(x->data + x->data_size, data, size);
  x->data_size += (size + 7) & ~(size_t)7;
  return at;
}

bool script_call(struct script *x, const char *what, long number, long a, long b, long c, long d, long e, long f) {
  if (x->count == MAX_CALLS) return fail("more than %d calls", MAX_CALLS);
  const int64_t call[CALL_WORDS] = {number, a, b, c, d, e, f, 0};
  memcpy(x->calls[x->count], call, sizeof call);
  snprintf(x->what[x->count], WHAT_BYTES, "%s", what);
  x->expects[x->count] = false;
  x->count++;
  return true;
}

bool script_expect(struct script *x, long result) {
  x->expects[x->count - 1] = true;
  x->expected[x->count - 1] = result;
  return true;
}

/* Lets it run to its end; threads that are born on the way wait. */
static bool run(struct copy *c) {
  while (true) {
    int status;
    if (ptrace(PTRACE_CONT, c->pid, 0, 0)) return fail_errno("let the copy make its calls");
    if (!wait_stop(c->pid, &status)) return false;
    int event = status >> 16;
    if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK) {
      unsigned long made;
      int born;
      if (ptrace(PTRACE_GETEVENTMSG, c->pid, 0, &made)) return fail_errno("learn the new id");
      c->threads[c->thread_count++] = (pid_t)made;
      if (!wait_stop((pid_t)made, &born)) return false;
    } else if (event != PTRACE_EVENT_SECCOMP) {
      return WSTOPSIG(status) == SIGTRAP && !event ? true : fail("the copy stopped at its calls by signal %d", WSTOPSIG(status));
    }
  }
}

static bool check(const struct script *x) {
  for (int i = 0; i < x->count; i++) {
    long result = (long)x->calls[i][RESULT];
    if (result < 0 && result > -4096) {
      errno = (int)-result;
      return fail_errno(x->what[i]);
    }
    if (x->expects[i] && result != x->expected[i]) return fail("%s: gave %ld, not %ld", x->what[i], result, x->expected[i]);
  }
  return true;
}

bool script_run(struct script *x, struct copy *c) {
  size_t size = (size_t)(x->count + 1) * sizeof x->calls[0];
  registers regs = c->base;
  x->calls[x->count][0] = END;
  if (!poke(c->pid, table_at(x), x->calls, size) || (x->data_size && !poke(c->pid, data_at(x), x->data, x->data_size))) return false;
  regs.rip = x->at;
  regs.r12 = table_at(x);
  regs.orig_rax = (unsigned long long)-1;
  if (ptrace(PTRACE_SETREGS, c->pid, 0, &regs)) return fail_errno("set registers");
  if (!run(c)) return false;
  struct iovec local = {x->calls, size}, remote = {(void *)table_at(x), size};
  if (process_vm_readv(c->pid, &local, 1, &remote, 1, 0) != (ssize_t)size) return fail_errno("read what the calls gave");
  bool fine = check(x);
  x->count = 0;
  x->data_size = 0;
  return fine;
}

bool script_close(struct script *x, const struct source *s, struct copy *c) {
  long done;
  return inject(c->pid, &c->base, s->syscall_at, "unmap the page for calls", &done, SYS_munmap, x->at, (long)mapped_bytes(x), 0L, 0L, 0L, 0L);
}
