/* Commands: their processes, their pipes, their ends. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRAIN_MILLIS 200
#define UNHEARD_BYTES (1u << 20)

/* One command. It outlives its stream when the host goes away. */
struct exec {
  struct exec *next;
  struct stream *stream; /* null when nobody listens any more */
  pid_t pid;
  bool exited, timed_out, input_ended;
  int status;
  int64_t deadline;       /* 0: none */
  int64_t drain_deadline; /* 0: none */
  struct pipe_end {
    struct source source; /* first: a source is cast back to its pipe */
    int owed; /* in it when the process ended: what that wrote itself */
    struct exec *exec;
    int channel;
  } pipes[3];
  struct buffer input;
};
static struct exec *execs;

static void close_pipe(struct pipe_end *pipe) {
  if (pipe->source.fd < 0) return;
  loop_remove(&pipe->source);
  close(pipe->source.fd);
  pipe->source.fd = -1;
  pipe->owed = 0;
}

static void exec_free(struct exec *e) {
  for (struct exec **at = &execs; *at; at = &(*at)->next)
    if (*at == e) {
      *at = e->next;
      break;
    }
  for (int i = 0; i < 3; i++) close_pipe(&e->pipes[i]);
  buffer_free(&e->input);
  free(e);
}

/* All is said when the process has ended and its pipes are empty, or have been left open by others
 * for too long. */
static void finish_if_over(struct exec *e) {
  if (!e->exited) return;
  bool open = e->pipes[CH_OUT].source.fd >= 0 || e->pipes[CH_ERR].source.fd >= 0;
  if (open && (!e->drain_deadline || now_millis() < e->drain_deadline)) return;
  if (e->stream && (e->pipes[CH_OUT].owed || e->pipes[CH_ERR].owed)) return;
  struct stream *s = e->stream;
  int status = e->status;
  bool timed_out = e->timed_out;
  exec_free(e);
  if (!s) {
    announce_idle();
    return;
  }
  json_t *result = json_object();
  if (timed_out) json_object_set_new(result, "timedOut", json_true());
  else if (WIFSIGNALED(status)) json_object_set_new(result, "signal", json_integer(WTERMSIG(status)));
  else json_object_set_new(result, "exit", json_integer(WEXITSTATUS(status)));
  stream_end(s, result);
}

/* Reads what the process has written, as far as the host wants to have it. What nobody wants is read away in turns: a
 * process may write as fast as it is read, and all others would wait for its end. */
static void pump_output(struct pipe_end *pipe) {
  struct exec *e = pipe->exec;
  static uint8_t data[MAX_PAYLOAD];
  size_t unheard = 0;
  while (pipe->source.fd >= 0) {
    size_t room = sizeof data;
    if (e->stream) {
      int64_t credit = e->stream->send_credit[pipe->channel];
      if (credit <= 0 || channel_crowded()) return;
      if ((int64_t)room > credit) room = (size_t)credit;
    }
    ssize_t n = read(pipe->source.fd, data, room);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pipe->owed = 0;
      return;
    }
    if (n <= 0) {
      close_pipe(pipe);
      return;
    }
    pipe->owed = n < pipe->owed ? pipe->owed - (int)n : 0;
    if (!e->stream) {
      if ((unheard += (size_t)n) < UNHEARD_BYTES) continue;
      loop_change(&pipe->source, EPOLLIN | EPOLLET); /* told again in the next turn */
      return;
    }
    e->stream->send_credit[pipe->channel] -= n;
    send_frame(e->stream->id, F_DATA, pipe->channel, data, (size_t)n);
  }
}

static void output_ready(struct source *source, uint32_t events) {
  struct pipe_end *pipe = (struct pipe_end *)source;
  struct exec *e = pipe->exec;
  (void)events;
  pump_output(pipe);
  finish_if_over(e);
}

static void exec_credit(struct stream *s) {
  struct exec *e = s->state;
  pump_output(&e->pipes[CH_OUT]);
  pump_output(&e->pipes[CH_ERR]);
  finish_if_over(e);
}

void exec_resume_output(void) {
  if (channel_crowded()) return;
  for (struct exec *e = execs, *next; e; e = next) {
    next = e->next;
    pump_output(&e->pipes[CH_OUT]);
    pump_output(&e->pipes[CH_ERR]);
    finish_if_over(e);
  }
}

static void pump_input(struct exec *e) {
  struct pipe_end *pipe = &e->pipes[CH_IN];
  while (pipe->source.fd >= 0 && buffer_size(&e->input)) {
    ssize_t n = write(pipe->source.fd, buffer_at(&e->input), buffer_size(&e->input));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) { /* nobody reads it any more */
      n = (ssize_t)buffer_size(&e->input);
      close_pipe(pipe);
    }
    buffer_consume(&e->input, (size_t)n);
    if (e->stream) stream_consumed(e->stream, (size_t)n);
  }
  if (e->input_ended && !buffer_size(&e->input)) close_pipe(pipe);
}

static void input_ready(struct source *source, uint32_t events) {
  (void)events;
  pump_input(((struct pipe_end *)source)->exec);
}

static void exec_input(struct stream *s, const uint8_t *data, size_t size) {
  struct exec *e = s->state;
  if (e->pipes[CH_IN].source.fd < 0) {
    stream_consumed(s, size);
    return;
  }
  buffer_add(&e->input, data, size);
  pump_input(e);
}

static void exec_input_end(struct stream *s) {
  struct exec *e = s->state;
  e->input_ended = true;
  pump_input(e);
}

static void exec_signal(struct stream *s, int number) {
  struct exec *e = s->state;
  if (!e->exited) kill(-e->pid, number);
}

static void exec_detach(struct stream *s) {
  struct exec *e = s->state;
  e->stream = NULL;
  e->input_ended = true;
  pump_input(e);
}

static void exec_cancel(struct stream *s) {
  struct exec *e = s->state;
  e->stream = NULL;
  kill(-e->pid, SIGKILL); /* the children that it left behind, too */
  if (e->exited) exec_free(e);
}

static const struct stream_ops exec_ops = {
    .input = exec_input,
    .input_end = exec_input_end,
    .credit = exec_credit,
    .signal = exec_signal,
    .cancel = exec_cancel,
    .detach = exec_detach,
};

void exec_reaped(pid_t pid, int status) {
  for (struct exec *e = execs; e; e = e->next) {
    if (e->pid != pid || e->exited) continue;
    e->exited = true;
    e->status = status;
    e->drain_deadline = now_millis() + DRAIN_MILLIS;
    for (int i = CH_OUT; i <= CH_ERR; i++) e->pipes[i].owed = unread(e->pipes[i].source.fd);
    if (e->timed_out) kill(-pid, SIGKILL);
    close_pipe(&e->pipes[CH_IN]);
    pump_output(&e->pipes[CH_OUT]);
    pump_output(&e->pipes[CH_ERR]);
    finish_if_over(e);
    return;
  }
}

int64_t exec_next_deadline(void) {
  int64_t next = 0;
  for (struct exec *e = execs; e; e = e->next) {
    int64_t mine = e->exited ? e->drain_deadline : e->deadline;
    if (mine && (!next || mine < next)) next = mine;
  }
  return next;
}

void exec_check_deadlines(void) {
  int64_t now = now_millis();
  for (struct exec *e = execs, *next; e; e = next) {
    next = e->next;
    if (e->exited) {
      /* Output that waits for the host's credit is not somebody else's open pipe. */
      bool waits = e->stream && (e->stream->send_credit[CH_OUT] <= 0 ||
                                 e->stream->send_credit[CH_ERR] <= 0 || channel_crowded() ||
                                 e->pipes[CH_OUT].owed || e->pipes[CH_ERR].owed);
      if (waits && now >= e->drain_deadline) e->drain_deadline = now + DRAIN_MILLIS;
      finish_if_over(e);
    } else if (e->deadline && now >= e->deadline) {
      e->timed_out = true;
      e->deadline = 0;
      kill(-e->pid, SIGKILL);
    }
  }
}

int exec_running(void) {
  int count = 0;
  for (struct exec *e = execs; e; e = e->next) count += !e->exited;
  return count;
}

static bool make_pipes(struct exec *e, struct spawn *spawn, bool input, bool output) {
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (i == CH_IN ? !input : !output) {
      spawn->fds[i] = open("/dev/null", (i == CH_IN ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
      if (spawn->fds[i] < 0) return false;
      continue;
    }
    if (pipe2(ends, O_CLOEXEC)) return false;
    spawn->fds[i] = ends[i == CH_IN ? 0 : 1];
    e->pipes[i].source.fd = ends[i == CH_IN ? 1 : 0];
    set_nonblocking(e->pipes[i].source.fd);
  }
  return true;
}

void exec_start(struct stream *s, json_t *request) {
  json_int_t timeout = json_integer_value(json_object_get(request, "timeoutMillis"));
  bool background = json_is_true(json_object_get(request, "background"));
  struct command command;
  if (!command_prepare(&command, s, request)) return;
  struct exec *e = calloc(1, sizeof *e);
  if (!e) fatal("out of memory for a command");
  for (int i = 0; i < 3; i++) e->pipes[i] = (struct pipe_end){.source = {.fd = -1}, .exec = e, .channel = i};
  const char *step = "pipes";
  e->next = execs;
  execs = e;
  bool started =
      make_pipes(e, &command.spawn, !background && json_is_true(json_object_get(request, "stdin")), !background) &&
      spawn_process(&command.spawn, &e->pid, &step);
  int error = errno;
  for (int i = 0; i < 3; i++)
    if (command.spawn.fds[i] >= 0) close(command.spawn.fds[i]);
  if (!started) {
    for (int i = 0; i < 3; i++) {
      if (e->pipes[i].source.fd >= 0) close(e->pipes[i].source.fd);
      e->pipes[i].source.fd = -1;
    }
    exec_free(e);
    command_fail(&command, s, error, step);
  } else {
    e->deadline = timeout > 0 && !background ? now_millis() + timeout : 0;
    if (background) {
      stream_end(s, json_pack("{s:i}", "pid", (int)e->pid));
    } else {
      e->stream = s;
      s->state = e;
      s->ops = &exec_ops;
      for (int i = 0; i < 3; i++) {
        if (e->pipes[i].source.fd < 0) continue;
        e->pipes[i].source.ready = i == CH_IN ? input_ready : output_ready;
        loop_add(&e->pipes[i].source, (i == CH_IN ? EPOLLOUT : EPOLLIN) | EPOLLET);
      }
    }
  }
  command_free(&command);
}
