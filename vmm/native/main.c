/* vmfork: copies a paused VM's process on command.
 *
 * Commands, one a line, each answered by one line: `ok ...` or `error WHY`.
 *   source PID owned|foreign look|copied
 *                    what all others are about; once, and first. An owned one is ours to end. A copied one was made by a vmfork,
 *                    so that none of its memory is marked not to be copied
 *   freeze           stop every thread of PID where it can be copied
 *   copy             fork(2) it: `ok PID`. The source may be thawed before the next step
 *   finish FIELD...  give the copy what is its own, and let it run (its VM stays paused). See copy_finish. `ok PID`
 *   abort            end a copy that is not finished
 *   thaw             let the source go on as if nothing had been
 * Times in microseconds follow. At the end of input an unfinished copy is ended, the source thawed, or, if it is owned, ended. */
#define _GNU_SOURCE
#include "vmfork.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINE = 16384, MAX_FIELDS = 64 };

/* Every command takes milliseconds; what takes this long waits for something that will not happen. */
enum { COMMAND_SECONDS = 5 };

char problem[512];
volatile bool timed_out;
static struct source source;

static void ring(int signal) {
  (void)signal;
  timed_out = true;
}

static void set_alarm(unsigned seconds) {
  timed_out = false;
  alarm(seconds);
}

bool fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(problem, sizeof problem, format, arguments);
  va_end(arguments);
  return false;
}

bool fail_errno(const char *what) { return fail("%s: %s", what, strerror(errno)); }

static double now_micros(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void end_copy(struct copy *copy) {
  if (!copy->pid) return;
  int status;
  kill(copy->pid, SIGKILL);
  set_alarm(COMMAND_SECONDS);
  /* The first thread goes last: it is only then that it can be waited for. */
  for (int i = 0; i < copy->thread_count; i++) wait_for(copy->threads[i], &status);
  while (wait_for(copy->pid, &status) && WIFSTOPPED(status)) {}
  copy->pid = 0;
}

static bool set_source(int count, char **fields) {
  if (source.pid) return fail("the source is %d", source.pid);
  if (count != 3 || atoi(fields[0]) <= 0) return fail("source PID owned|foreign look|copied");
  source.pid = atoi(fields[0]);
  source.owned = !strcmp(fields[1], "owned");
  return !strcmp(fields[2], "copied") || find_uncopied(&source);
}

int main(void) {
  static char line[MAX_LINE];
  struct copy copy = {0};
  struct sigaction action = {.sa_handler = ring};
  sigaction(SIGALRM, &action, NULL); /* no SA_RESTART: it is to cut a wait short */
  bool found = false;
  while (fgets(line, sizeof line, stdin)) {
    char *fields[MAX_FIELDS], *rest = NULL, *word = strtok_r(line, "\t\n", &rest);
    int count = 0;
    for (; word && count < MAX_FIELDS; word = strtok_r(NULL, "\t\n", &rest)) fields[count++] = word;
    if (!count) continue;
    double begin = now_micros();
    set_alarm(COMMAND_SECONDS);
    pid_t pid = 0;
    bool fine;
    if (!strcmp(fields[0], "source")) {
      fine = found = set_source(count - 1, fields + 1);
    } else if (!found) {
      fine = fail("there is no source");
    } else if (!strcmp(fields[0], "freeze")) {
      fine = source.frozen || freeze(&source);
    } else if (!strcmp(fields[0], "copy")) {
      fine = copy.pid ? fail("a copy is unfinished") : copy_begin(&source, &copy);
      pid = copy.pid;
      if (!fine) end_copy(&copy);
    } else if (!strcmp(fields[0], "finish")) {
      fine = copy.pid ? copy_finish(&source, &copy, count - 1, fields + 1) : fail("there is no copy");
      pid = copy.pid;
      if (fine) copy.pid = 0;
      else end_copy(&copy);
    } else if (!strcmp(fields[0], "abort")) {
      end_copy(&copy);
      fine = true;
    } else if (!strcmp(fields[0], "thaw")) {
      fine = thaw(&source);
    } else {
      fine = fail("unknown command '%s'", fields[0]);
    }
    set_alarm(0);
    if (fine) printf("ok\t%d\t%.0f\n", pid, now_micros() - begin);
    else printf("error\t%s\n", problem);
    fflush(stdout);
  }
  end_copy(&copy);
  /* What is owned and traced the kernel ends with us. */
  if (!source.pid) return 0;
  if (source.owned) kill(source.pid, SIGKILL);
  else thaw(&source);
  return 0;
}
