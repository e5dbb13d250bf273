/* The pipes of a program that a user has started, and when all is said that it wrote: the same for a command (exec.c) and
 * a kept process (process.c). */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRAIN_MILLIS 200
#define UNHEARD_BYTES (1u << 20)

void program_init(struct program *p, const struct program_ops *ops) {
  p->ops = ops;
  for (int i = 0; i < 3; i++) p->pipes[i] = (struct pipe_end){.source = {.fd = -1, .ready = ops->ready}, .program = p, .channel = i};
}

bool program_pipes(struct program *p, struct spawn *spawn, bool input, bool output) {
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (i == CH_IN ? !input : !output) {
      spawn->fds[i] = open("/dev/null", (i == CH_IN ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
      if (spawn->fds[i] < 0) return false;
      continue;
    }
    if (pipe2(ends, O_CLOEXEC)) return false;
    spawn->fds[i] = ends[i == CH_IN ? 0 : 1];
    p->pipes[i].source.fd = ends[i == CH_IN ? 1 : 0];
    set_nonblocking(p->pipes[i].source.fd);
  }
  return true;
}

void program_watch(struct program *p) {
  for (int i = 0; i < 3; i++) {
    struct pipe_end *pipe = &p->pipes[i];
    if (pipe->source.fd < 0) continue;
    pipe->events = (i == CH_IN ? EPOLLOUT : p->terminal ? EPOLLIN | EPOLLOUT : EPOLLIN) | EPOLLET;
    loop_add(&pipe->source, pipe->events);
  }
}

void pipe_close(struct pipe_end *pipe) {
  if (pipe->source.fd < 0) return;
  if (pipe->events) loop_remove(&pipe->source); /* else it was never started */
  close(pipe->source.fd);
  pipe->source.fd = -1;
  pipe->owed = 0;
}

void program_close(struct program *p) {
  for (int i = 0; i < 3; i++) pipe_close(&p->pipes[i]);
}

static int64_t room(const struct program *p, int on) { return p->ops->room(p, on); }

static bool owes(const struct program *p) { return p->pipes[CH_OUT].owed || p->pipes[CH_ERR].owed; }

void pipe_read(struct pipe_end *pipe) {
  static uint8_t data[MAX_PAYLOAD];
  struct program *p = pipe->program;
  size_t unheard = 0;
  while (pipe->source.fd >= 0) {
    int64_t wanted = room(p, pipe->channel);
    bool heard = wanted != UNHEARD;
    if (heard && (wanted <= 0 || channel_crowded())) return;
    ssize_t n = read(pipe->source.fd, data, heard && wanted < (int64_t)sizeof data ? (size_t)wanted : sizeof data);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pipe->owed = 0;
      return;
    }
    if (n <= 0) { /* of a terminal: EIO, when nobody has its other side any more */
      pipe_close(pipe);
      return;
    }
    pipe->owed = n < pipe->owed ? pipe->owed - (int)n : 0;
    if (heard) {
      p->ops->deliver(p, pipe->channel, data, (size_t)n);
    } else if ((unheard += (size_t)n) >= UNHEARD_BYTES) {
      loop_change(&pipe->source, pipe->events); /* told again in the next turn */
      return;
    }
  }
}

void program_read(struct program *p) {
  pipe_read(&p->pipes[CH_OUT]);
  pipe_read(&p->pipes[CH_ERR]);
}

void program_ended(struct program *p, int status) {
  p->exited = true;
  p->status = status;
  p->drain_deadline = now_millis() + DRAIN_MILLIS;
  for (int i = CH_OUT; i <= CH_ERR; i++) p->pipes[i].owed = unread(p->pipes[i].source.fd);
  if (p->timed_out) kill(-p->pid, SIGKILL);
  pipe_close(&p->pipes[CH_IN]);
  program_read(p);
}

bool program_over(const struct program *p) {
  if (!p->exited) return false;
  bool open = p->pipes[CH_OUT].source.fd >= 0 || p->pipes[CH_ERR].source.fd >= 0;
  if (open && now_millis() < p->drain_deadline) return false;
  return !owes(p) || room(p, CH_OUT) == UNHEARD;
}

int64_t program_deadline(const struct program *p) { return p->exited ? p->drain_deadline : p->deadline; }

void program_check_deadline(struct program *p, int64_t now) {
  int64_t deadline = program_deadline(p);
  if (!deadline || now < deadline) return;
  if (!p->exited) {
    p->timed_out = true;
    p->deadline = 0;
    kill(-p->pid, SIGKILL);
    return;
  }
  /* Output that waits for a host's credit is not somebody else's open pipe. */
  bool heard = room(p, CH_OUT) != UNHEARD;
  if (heard && (room(p, CH_OUT) <= 0 || room(p, CH_ERR) <= 0 || channel_crowded() || owes(p)))
    p->drain_deadline = now + DRAIN_MILLIS;
}

json_t *program_result(int status, bool timed_out) {
  if (timed_out) return json_pack("{s:b}", "timedOut", 1);
  return WIFSIGNALED(status) ? json_pack("{s:i}", "signal", WTERMSIG(status))
                             : json_pack("{s:i}", "exit", WEXITSTATUS(status));
}
