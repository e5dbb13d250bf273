/* What may take long, done by a copy of the agent: in the agent itself everybody else would wait for it. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CHILD_FD 3

/* A child writes one int to its pipe, 0 or why it failed, then what it has to say. */
struct work {
  struct source source; /* first: a source is cast back to its work */
  struct work *next;
  struct stream *stream;
  pid_t pid;
  bool begun;
  const char *verb;
  char path[4096];
};
static struct work *works;

static void work_free(struct work *w) {
  for (struct work **at = &works; *at; at = &(*at)->next)
    if (*at == w) {
      *at = w->next;
      break;
    }
  loop_remove(&w->source);
  close(w->source.fd);
  free(w);
}

static void fail(struct work *w, int error) {
  struct stream *s = w->stream;
  char what[400];
  snprintf(what, sizeof what, "cannot %s '%.300s'", w->verb, w->path);
  work_free(w);
  stream_fail_errno(s, error, what);
}

static void pump(struct work *w) {
  static uint8_t data[MAX_PAYLOAD];
  struct stream *s = w->stream;
  for (;;) {
    int error = 0;
    size_t room = sizeof data;
    if (!w->begun) room = sizeof error;
    else if (s->send_credit[CH_OUT] <= 0 || channel_crowded()) return;
    else if ((int64_t)room > s->send_credit[CH_OUT]) room = (size_t)s->send_credit[CH_OUT];
    ssize_t n = read(w->source.fd, data, room);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (!w->begun) {
      if (n == sizeof error) memcpy(&error, data, sizeof error);
      else error = ECHILD; /* it was killed */
      if (error) {
        fail(w, error);
        return;
      }
      w->begun = true;
    } else if (n <= 0) {
      work_free(w);
      stream_end(s, json_object());
      return;
    } else {
      s->send_credit[CH_OUT] -= n;
      send_frame(s->id, F_DATA, CH_OUT, data, (size_t)n);
    }
  }
}

static void work_ready(struct source *source, uint32_t events) {
  (void)events;
  pump((struct work *)source);
}

static void work_credit(struct stream *s) { pump(s->state); }

/* Its number may be another's from now on, though there may be more of it to be read. */
bool work_reaped(pid_t pid) {
  for (struct work *w = works; w; w = w->next)
    if (w->pid == pid) {
      w->pid = 0;
      return true;
    }
  return false;
}

static void work_cancel(struct stream *s) {
  struct work *w = s->state;
  if (w->pid) kill(w->pid, SIGKILL);
  work_free(w);
}

static const struct stream_ops work_ops = {.credit = work_credit, .cancel = work_cancel};

void work_resume_output(void) {
  if (channel_crowded()) return;
  for (struct work *w = works, *next; w; w = next) {
    next = w->next;
    pump(w);
  }
}

/* Runs in the child, which has nothing of the agent's but its memory. */
static void run_child(int fd, work_body *body, const void *argument) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (fd != CHILD_FD && dup2(fd, CHILD_FD) < 0) _exit(70);
  close_range(CHILD_FD + 1, ~0U, 0); /* pipes whose end others wait for */
  FILE *out = fdopen(CHILD_FD, "w");
  if (!out) _exit(70);
  body(out, argument);
  _exit(fflush(out) ? 70 : 0);
}

void work_error(FILE *out, int error) { fwrite(&error, sizeof error, 1, out); }

void work_start(struct stream *s, const char *verb, const char *path, work_body *body, const void *argument) {
  int fds[2];
  char what[400];
  snprintf(what, sizeof what, "cannot %s '%.300s'", verb, path);
  if (pipe2(fds, O_CLOEXEC)) {
    stream_fail_errno(s, errno, what);
    return;
  }
  pid_t pid = fork();
  if (pid == 0) run_child(fds[1], body, argument);
  int error = errno;
  close(fds[1]);
  if (pid < 0) {
    close(fds[0]);
    stream_fail_errno(s, error, what);
    return;
  }
  struct work *w = calloc(1, sizeof *w);
  if (!w) fatal("out of memory for work");
  set_nonblocking(fds[0]);
  *w = (struct work){.source = {.fd = fds[0], .ready = work_ready}, .next = works, .stream = s, .pid = pid, .verb = verb};
  snprintf(w->path, sizeof w->path, "%s", path);
  works = w;
  loop_add(&w->source, EPOLLIN | EPOLLET);
  s->state = w;
  s->ops = &work_ops;
}
