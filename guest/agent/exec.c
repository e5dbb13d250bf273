/* Commands: their processes, what is said to and by them, their ends. */
#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

/* One command. It outlives its stream when the host goes away. */
struct exec {
  struct program program; /* first: a program is cast back to its command */
  struct exec *next;
  struct stream *stream; /* null when nobody listens any more */
  bool input_ended;
  struct buffer input;
};
static struct exec *execs;

static void exec_free(struct exec *e) {
  for (struct exec **at = &execs; *at; at = &(*at)->next)
    if (*at == e) {
      *at = e->next;
      break;
    }
  program_close(&e->program);
  buffer_free(&e->input);
  free(e);
}

static void finish_if_over(struct exec *e) {
  if (!program_over(&e->program)) return;
  struct stream *s = e->stream;
  int status = e->program.status;
  bool timed_out = e->program.timed_out;
  exec_free(e);
  if (s) stream_end(s, program_result(status, timed_out));
  else announce_idle();
}

static int64_t room(const struct program *p, int on) {
  const struct exec *e = (const struct exec *)p;
  return e->stream ? e->stream->send_credit[on] : UNHEARD;
}

static void deliver(struct program *p, int on, const uint8_t *data, size_t size) {
  struct stream *s = ((struct exec *)p)->stream;
  s->send_credit[on] -= (int64_t)size;
  send_frame(s->id, F_DATA, on, data, size);
}

static void read_output(struct exec *e) {
  program_read(&e->program);
  finish_if_over(e);
}

static void exec_credit(struct stream *s) { read_output(s->state); }

void exec_resume_output(void) {
  if (channel_crowded()) return;
  for (struct exec *e = execs, *next; e; e = next) {
    next = e->next;
    read_output(e);
  }
}

static void pump_input(struct exec *e) {
  struct pipe_end *pipe = &e->program.pipes[CH_IN];
  int error = pipe->source.fd < 0 ? 0 : pipe_write(pipe->source.fd, &e->input, e->stream);
  if (error == EAGAIN) return;
  if (error) { /* nobody reads it any more */
    if (e->stream) stream_consumed(e->stream, buffer_size(&e->input));
    buffer_clear(&e->input);
    pipe_close(pipe);
  }
  if (e->input_ended && !buffer_size(&e->input)) pipe_close(pipe);
}

static void pipe_ready(struct source *source, uint32_t events) {
  struct pipe_end *pipe = (struct pipe_end *)source;
  struct exec *e = (struct exec *)pipe->program;
  (void)events;
  if (pipe->channel == CH_IN) pump_input(e);
  else pipe_read(pipe);
  finish_if_over(e);
}

static const struct program_ops program_ops = {.room = room, .deliver = deliver, .ready = pipe_ready};

static void exec_input(struct stream *s, const uint8_t *data, size_t size) {
  struct exec *e = s->state;
  if (e->program.pipes[CH_IN].source.fd < 0) {
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
  if (!e->program.exited) kill(-e->program.pid, number);
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
  kill(-e->program.pid, SIGKILL); /* the children that it left behind, too */
  if (e->program.exited) exec_free(e);
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
    if (e->program.pid != pid || e->program.exited) continue;
    program_ended(&e->program, status);
    finish_if_over(e);
    return;
  }
}

int64_t exec_next_deadline(void) {
  int64_t next = 0;
  for (struct exec *e = execs; e; e = e->next) {
    int64_t mine = program_deadline(&e->program);
    if (mine && (!next || mine < next)) next = mine;
  }
  return next;
}

void exec_check_deadlines(void) {
  int64_t now = now_millis();
  for (struct exec *e = execs, *next; e; e = next) {
    next = e->next;
    program_check_deadline(&e->program, now);
    finish_if_over(e);
  }
}

int exec_running(void) {
  int count = 0;
  for (struct exec *e = execs; e; e = e->next) count += !e->program.exited;
  return count;
}

void exec_start(struct stream *s, json_t *request) {
  json_int_t timeout = json_integer_value(json_object_get(request, "timeoutMillis"));
  bool background = json_is_true(json_object_get(request, "background"));
  struct command command;
  if (!command_prepare(&command, s, request)) return;
  struct exec *e = calloc(1, sizeof *e);
  if (!e) fatal("out of memory for a command");
  program_init(&e->program, &program_ops);
  const char *step = "pipes";
  e->next = execs;
  execs = e;
  bool started =
      program_pipes(&e->program, &command.spawn, !background && json_is_true(json_object_get(request, "stdin")), !background) &&
      spawn_process(&command.spawn, &e->program.pid, &step);
  int error = errno;
  spawn_close(&command.spawn);
  if (!started) {
    exec_free(e);
    command_fail(&command, s, error, step);
  } else {
    e->program.deadline = timeout > 0 && !background ? now_millis() + timeout : 0;
    if (background) {
      stream_end(s, json_pack("{s:i}", "pid", (int)e->program.pid));
    } else {
      e->stream = s;
      s->state = e;
      s->ops = &exec_ops;
      program_watch(&e->program);
    }
  }
  command_free(&command);
}
