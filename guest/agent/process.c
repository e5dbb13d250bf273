/* Kept processes: they belong to the guest, not to a stream. Any number of streams listen to one;
 * it goes on when none does. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_PROCESSES 256
#define MAX_EXITS 64
#define EXIT_MILLIS 60000
#define DRAIN_MILLIS 200
#define UNHEARD_BYTES (1u << 20)

struct process;

/* A stream that hears what a process writes. */
struct listener {
  struct listener *next;
  struct process *process;
  struct stream *stream;
};

/* A request that writes to a process, or closes its input. They wait for each other. */
struct input {
  struct input *next;
  struct process *process; /* null once that takes no more */
  pid_t pid;
  struct stream *stream;
  struct buffer buffer;
  bool ended, closes, taken;
};

struct process {
  struct process *next; /* the youngest first */
  pid_t pid;
  char *label;
  json_t *description;
  bool terminal, exited, timed_out;
  int status;
  int64_t deadline, drain_deadline; /* 0: none */
  struct pipe_end {
    struct source source; /* first: a source is cast back to its pipe */
    int owed; /* in it when the process ended: what that wrote itself */
    struct process *process;
    int channel;
  } pipes[3]; /* of a terminal, the master is the output's, and input goes there too */
  struct listener *listeners;
  struct input *inputs;
};
static struct process *processes;

/* Those that ended, for whoever asks a little late. */
static struct ended {
  pid_t pid;
  char *label;
  int status;
  bool timed_out;
  int64_t at;
} exits[MAX_EXITS];
static size_t next_exit;

static void close_pipe(struct pipe_end *pipe) {
  if (pipe->source.fd < 0) return;
  loop_remove(&pipe->source);
  close(pipe->source.fd);
  pipe->source.fd = -1;
  pipe->owed = 0;
}

static int input_fd(const struct process *p) { return p->pipes[p->terminal ? CH_OUT : CH_IN].source.fd; }

static json_t *result(int status, bool timed_out) {
  if (timed_out) return json_pack("{s:b}", "timedOut", 1);
  return WIFSIGNALED(status) ? json_pack("{s:i}", "signal", WTERMSIG(status))
                             : json_pack("{s:i}", "exit", WEXITSTATUS(status));
}

static void input_unlink(struct input *in) {
  if (!in->process) return;
  for (struct input **at = &in->process->inputs; *at; at = &(*at)->next)
    if (*at == in) {
      *at = in->next;
      break;
    }
  in->process = NULL;
}

static void input_done(struct input *in, const char *failure) {
  input_unlink(in);
  struct stream *s = in->stream;
  pid_t pid = in->pid;
  buffer_free(&in->buffer);
  free(in);
  if (!s) return;
  if (failure) stream_fail(s, "failed_precondition", "process %d %s", (int)pid, failure);
  else stream_end(s, json_object());
}

/* Its process takes no more. That is no failure if it took all there was: what is still to come may be no more than the end. */
static void input_over(struct input *in, const char *failure) {
  if (!in->taken || buffer_size(&in->buffer)) input_done(in, failure);
  else if (in->ended) input_done(in, NULL);
  else input_unlink(in);
}

static void process_free(struct process *p) {
  for (struct process **at = &processes; *at; at = &(*at)->next)
    if (*at == p) {
      *at = p->next;
      break;
    }
  for (int i = 0; i < 3; i++) close_pipe(&p->pipes[i]);
  json_decref(p->description);
  free(p->label);
  free(p);
}

static bool finish_if_over(struct process *p) {
  if (!p->exited) return false;
  bool open = p->pipes[CH_OUT].source.fd >= 0 || p->pipes[CH_ERR].source.fd >= 0;
  if (open && (!p->drain_deadline || now_millis() < p->drain_deadline)) return false;
  if (p->listeners && (p->pipes[CH_OUT].owed || p->pipes[CH_ERR].owed)) return false;
  while (p->inputs) input_over(p->inputs, "has ended before it read all");
  struct ended *end = &exits[next_exit++ % MAX_EXITS];
  free(end->label);
  *end = (struct ended){.pid = p->pid, .label = p->label, .status = p->status, .timed_out = p->timed_out, .at = now_millis()};
  p->label = NULL;
  struct listener *l = p->listeners;
  p->listeners = NULL;
  while (l) {
    struct listener *next = l->next;
    stream_end(l->stream, result(end->status, end->timed_out));
    free(l);
    l = next;
  }
  process_free(p);
  return true;
}

/* How much all who listen can take. */
static int64_t credit(const struct process *p, int on) {
  int64_t least = MAX_PAYLOAD;
  for (struct listener *l = p->listeners; l; l = l->next)
    if (l->stream->send_credit[on] < least) least = l->stream->send_credit[on];
  return least;
}

static void pump_output(struct pipe_end *pipe) {
  static uint8_t data[MAX_PAYLOAD];
  struct process *p = pipe->process;
  size_t unheard = 0;
  while (pipe->source.fd >= 0) {
    int64_t room = credit(p, pipe->channel);
    if (p->listeners && (room <= 0 || channel_crowded())) return;
    ssize_t n = read(pipe->source.fd, data, p->listeners ? (size_t)room : sizeof data);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pipe->owed = 0;
      return;
    }
    if (n <= 0) { /* of a terminal: EIO, when nobody has its other side any more */
      close_pipe(pipe);
      return;
    }
    pipe->owed = n < pipe->owed ? pipe->owed - (int)n : 0;
    if (!p->listeners) {
      if ((unheard += (size_t)n) < UNHEARD_BYTES) continue;
      loop_change(&pipe->source, (p->terminal ? EPOLLIN | EPOLLOUT : EPOLLIN) | EPOLLET); /* told again in the next turn */
      return;
    }
    for (struct listener *l = p->listeners; l; l = l->next) {
      l->stream->send_credit[pipe->channel] -= n;
      send_frame(l->stream->id, F_DATA, pipe->channel, data, (size_t)n);
    }
  }
}

static void pump_outputs(struct process *p) {
  pump_output(&p->pipes[CH_OUT]);
  pump_output(&p->pipes[CH_ERR]);
  finish_if_over(p);
}

static void pump_input(struct process *p) {
  struct input *in;
  while ((in = p->inputs)) {
    int fd = input_fd(p);
    if (fd < 0) {
      input_over(in, "has no open input");
      continue;
    }
    if (in->closes) {
      close_pipe(&p->pipes[CH_IN]);
      input_done(in, NULL);
      continue;
    }
    while (buffer_size(&in->buffer)) {
      ssize_t n = write(fd, buffer_at(&in->buffer), buffer_size(&in->buffer));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) {
        if (!p->terminal) close_pipe(&p->pipes[CH_IN]);
        break;
      }
      in->taken = true;
      buffer_consume(&in->buffer, (size_t)n);
      stream_consumed(in->stream, (size_t)n);
    }
    if (buffer_size(&in->buffer)) input_done(in, "reads its input no more");
    else if (in->ended) input_done(in, NULL);
    else return;
  }
}

static void pipe_ready(struct source *source, uint32_t events) {
  struct pipe_end *pipe = (struct pipe_end *)source;
  struct process *p = pipe->process;
  if (events & (EPOLLOUT | EPOLLERR)) pump_input(p);
  if (pipe->channel != CH_IN) pump_output(pipe);
  finish_if_over(p);
}

static void listen_credit(struct stream *s) { pump_outputs(((struct listener *)s->state)->process); }

static void listen_stop(struct stream *s) {
  struct listener *l = s->state;
  struct process *p = l->process;
  for (struct listener **at = &p->listeners; *at; at = &(*at)->next)
    if (*at == l) {
      *at = l->next;
      break;
    }
  free(l);
  pump_outputs(p);
}

static const struct stream_ops listen_ops = {.credit = listen_credit, .cancel = listen_stop, .detach = listen_stop};

static void listen_to(struct process *p, struct stream *s) {
  struct listener *l = calloc(1, sizeof *l);
  if (!l) fatal("out of memory for a listener");
  l->process = p;
  l->stream = s;
  l->next = p->listeners;
  p->listeners = l;
  s->state = l;
  s->ops = &listen_ops;
  send_json(s->id, F_NOTE, json_pack("{s:i}", "pid", (int)p->pid));
}

static void input_data(struct stream *s, const uint8_t *data, size_t size) {
  struct input *in = s->state;
  if (!in->process) {
    input_done(in, "has ended before it read all");
    return;
  }
  buffer_add(&in->buffer, data, size);
  pump_input(in->process);
}

static void input_end(struct stream *s) {
  struct input *in = s->state;
  in->ended = true;
  if (in->process) pump_input(in->process);
  else input_done(in, NULL);
}

static void input_cancel(struct stream *s) {
  struct input *in = s->state;
  struct process *p = in->process;
  in->stream = NULL;
  input_done(in, NULL);
  if (p) pump_input(p);
}

static const struct stream_ops input_ops = {.input = input_data, .input_end = input_end, .cancel = input_cancel};

static bool open_terminal(struct spawn *spawn, json_t *size, int *master) {
  char path[64];
  int number, unlock = 0;
  *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (*master < 0 || ioctl(*master, TIOCSPTLCK, &unlock) || ioctl(*master, TIOCGPTN, &number)) return false;
  snprintf(path, sizeof path, "/dev/pts/%d", number);
  int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) return false;
  struct winsize wanted = {.ws_col = (unsigned short)json_integer_value(json_object_get(size, "columns")),
                           .ws_row = (unsigned short)json_integer_value(json_object_get(size, "rows"))};
  ioctl(*master, TIOCSWINSZ, &wanted);
  if (spawn->drop_user && fchown(slave, spawn->uid, (gid_t)-1)) note("own %s: %s", path, strerror(errno));
  spawn->fds[0] = spawn->fds[1] = spawn->fds[2] = slave;
  spawn->terminal = true;
  return true;
}

static bool open_pipes(struct process *p, struct spawn *spawn, bool input) {
  for (int i = 0; i < 3; i++) {
    int ends[2];
    if (i == CH_IN && !input) {
      spawn->fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
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

static void close_spawn(struct spawn *spawn) {
  for (int i = 0; i < 3; i++)
    if (spawn->fds[i] >= 0 && (i == 0 || spawn->fds[i] != spawn->fds[0])) close(spawn->fds[i]);
}

static bool is_size(json_t *size) {
  json_int_t columns = json_integer_value(json_object_get(size, "columns"));
  json_int_t rows = json_integer_value(json_object_get(size, "rows"));
  return columns >= 1 && columns <= 65535 && rows >= 1 && rows <= 65535;
}

static void describe(struct process *p, json_t *request) {
  static const char *kept[] = {"args", "env", "cwd", "user", "stdin", "label", "pty"};
  p->description = json_object();
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    json_t *value = json_object_get(request, kept[i]);
    if (value && !json_is_null(value)) json_object_set(p->description, kept[i], value);
  }
  json_object_set_new(p->description, "pid", json_integer(p->pid));
}

static void start(struct stream *s, json_t *request) {
  json_t *pty = json_object_get(request, "pty");
  const char *label = json_string_value(json_object_get(request, "label"));
  json_int_t lifetime = json_integer_value(json_object_get(request, "lifetimeMillis"));
  struct command command;
  int count = 0;
  for (struct process *p = processes; p; p = p->next) count++;
  if (count >= MAX_PROCESSES) {
    stream_fail(s, "resource_exhausted", "%d processes are kept already; end some first", count);
    return;
  }
  if (json_is_object(pty) && !is_size(pty)) {
    stream_fail(s, "invalid_argument", "a terminal needs columns and rows, 1 to 65535 each");
    return;
  }
  if (!command_prepare(&command, s, request)) return;
  struct process *p = calloc(1, sizeof *p);
  if (!p) fatal("out of memory for a process");
  for (int i = 0; i < 3; i++) p->pipes[i] = (struct pipe_end){.source = {.fd = -1, .ready = pipe_ready}, .process = p, .channel = i};
  p->terminal = json_is_object(pty);
  const char *step = "pipes";
  bool input = json_is_true(json_object_get(request, "stdin"));
  bool started = (p->terminal ? open_terminal(&command.spawn, pty, &p->pipes[CH_OUT].source.fd)
                              : open_pipes(p, &command.spawn, input)) &&
                 spawn_process(&command.spawn, &p->pid, &step);
  int error = errno;
  close_spawn(&command.spawn);
  p->next = processes;
  processes = p;
  if (!started) {
    for (int i = 0; i < 3; i++) { /* the loop does not know them yet */
      if (p->pipes[i].source.fd >= 0) close(p->pipes[i].source.fd);
      p->pipes[i].source.fd = -1;
    }
    process_free(p);
    if (!strcmp(step, "cwd") && (error == ENOENT || error == ENOTDIR))
      stream_fail(s, "invalid_argument", "cwd '%.300s' does not exist", command.spawn.cwd);
    else if (!strcmp(step, "program"))
      stream_fail(s, "invalid_argument", "cannot run '%.200s': %s", command.argv[0], strerror(error));
    else command_fail(&command, s, error, step);
    command_free(&command);
    return;
  }
  command_free(&command);
  p->label = label ? strdup(label) : NULL;
  p->deadline = lifetime > 0 ? now_millis() + lifetime : 0;
  describe(p, request);
  listen_to(p, s);
  for (int i = 0; i < 3; i++) {
    if (p->pipes[i].source.fd < 0) continue;
    uint32_t events = i == CH_IN ? EPOLLOUT : p->terminal ? EPOLLIN | EPOLLOUT : EPOLLIN;
    loop_add(&p->pipes[i].source, events | EPOLLET);
  }
}

static bool is_meant(json_t *request, pid_t pid, const char *label) {
  json_t *number = json_object_get(request, "pid");
  const char *wanted = json_string_value(json_object_get(request, "label"));
  return json_is_integer(number) ? json_integer_value(number) == pid : wanted && label && !strcmp(wanted, label);
}

static void attach(struct stream *s, json_t *request) {
  for (struct process *p = processes; p; p = p->next)
    if (is_meant(request, p->pid, p->label)) {
      listen_to(p, s);
      return;
    }
  for (size_t i = 0; i < MAX_EXITS; i++) {
    struct ended *end = &exits[(next_exit + MAX_EXITS - 1 - i) % MAX_EXITS];
    if (!end->pid || now_millis() - end->at > EXIT_MILLIS || !is_meant(request, end->pid, end->label)) continue;
    send_json(s->id, F_NOTE, json_pack("{s:i}", "pid", (int)end->pid));
    stream_end(s, result(end->status, end->timed_out));
    return;
  }
  stream_fail(s, "not_found", "no such process is kept");
}

static void list(struct stream *s) {
  json_t *all = json_array();
  size_t bytes = 0;
  for (struct process *p = processes; p; p = p->next) {
    if (p->exited) continue;
    if ((bytes += json_size(p->description)) > MAX_ANSWER_BYTES) {
      json_decref(all);
      stream_fail(s, "resource_exhausted", "what the processes were started with is too much for one answer; end some");
      return;
    }
    size_t at = 0;
    while (at < json_array_size(all) &&
           json_integer_value(json_object_get(json_array_get(all, at), "pid")) < p->pid)
      at++;
    json_array_insert(all, at, p->description);
  }
  stream_end(s, json_pack("{s:o}", "processes", all));
}

static void write_to(struct process *p, struct stream *s, bool closes) {
  if (input_fd(p) < 0 || (closes && p->terminal)) {
    stream_fail(s, "failed_precondition", "process %d has no %s", (int)p->pid,
                p->terminal ? "input that could be closed: it has a terminal" : "open input");
    return;
  }
  struct input *in = calloc(1, sizeof *in);
  if (!in) fatal("out of memory for input");
  in->process = p;
  in->pid = p->pid;
  in->stream = s;
  in->closes = closes;
  struct input **at = &p->inputs;
  while (*at) at = &(*at)->next;
  *at = in;
  s->state = in;
  s->ops = &input_ops;
  pump_input(p);
}

static void resize(struct process *p, struct stream *s, json_t *request) {
  if (!p->terminal || p->pipes[CH_OUT].source.fd < 0) {
    stream_fail(s, "failed_precondition", "process %d has no terminal", (int)p->pid);
    return;
  }
  if (!is_size(request)) {
    stream_fail(s, "invalid_argument", "resize needs columns and rows, 1 to 65535 each");
    return;
  }
  struct winsize wanted = {.ws_col = (unsigned short)json_integer_value(json_object_get(request, "columns")),
                           .ws_row = (unsigned short)json_integer_value(json_object_get(request, "rows"))};
  if (ioctl(p->pipes[CH_OUT].source.fd, TIOCSWINSZ, &wanted)) {
    stream_fail_errno(s, errno, "resize the terminal");
    return;
  }
  json_t *pty = json_object_get(p->description, "pty");
  json_object_set(pty, "columns", json_object_get(request, "columns"));
  json_object_set(pty, "rows", json_object_get(request, "rows"));
  stream_end(s, json_object());
}

static void send_signal(struct process *p, struct stream *s, json_t *request) {
  json_int_t number = json_integer_value(json_object_get(request, "signal"));
  if (number < 1 || number > 64) {
    stream_fail(s, "invalid_argument", "signal must be 1 to 64");
    return;
  }
  kill(-p->pid, (int)number);
  stream_end(s, json_object());
}

bool process_start(struct stream *s, const char *op, json_t *request) {
  static const char *known[] = {"start", "attach", "processes", "input", "closeInput", "signal", "resize"};
  bool mine = false;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) mine |= !strcmp(op, known[i]);
  if (!mine) return false;
  if (!strcmp(op, "start")) {
    start(s, request);
    return true;
  }
  if (!strcmp(op, "processes")) {
    list(s);
    return true;
  }
  if (json_is_integer(json_object_get(request, "pid")) == json_is_string(json_object_get(request, "label"))) {
    stream_fail(s, "invalid_argument", "%s needs either pid or label", op);
    return true;
  }
  if (!strcmp(op, "attach")) {
    attach(s, request);
    return true;
  }
  struct process *p = processes;
  while (p && (p->exited || !is_meant(request, p->pid, p->label))) p = p->next;
  if (!p) stream_fail(s, "not_found", "no such process is kept");
  else if (!strcmp(op, "input")) write_to(p, s, false);
  else if (!strcmp(op, "closeInput")) write_to(p, s, true);
  else if (!strcmp(op, "signal")) send_signal(p, s, request);
  else resize(p, s, request);
  return true;
}

bool process_reaped(pid_t pid, int status) {
  for (struct process *p = processes; p; p = p->next) {
    if (p->pid != pid || p->exited) continue;
    p->exited = true;
    p->status = status;
    p->drain_deadline = now_millis() + DRAIN_MILLIS;
    for (int i = CH_OUT; i <= CH_ERR; i++) p->pipes[i].owed = unread(p->pipes[i].source.fd);
    if (p->timed_out) kill(-pid, SIGKILL);
    close_pipe(&p->pipes[CH_IN]);
    pump_outputs(p);
    return true;
  }
  return false;
}

int64_t process_next_deadline(void) {
  int64_t next = 0;
  for (struct process *p = processes; p; p = p->next) {
    int64_t mine = p->exited ? p->drain_deadline : p->deadline;
    if (mine && (!next || mine < next)) next = mine;
  }
  return next;
}

void process_check_deadlines(void) {
  int64_t now = now_millis();
  for (struct process *p = processes, *next; p; p = next) {
    next = p->next;
    if (p->exited) {
      /* Output that waits for a host's credit is not somebody else's open pipe. */
      bool waits = p->listeners && (credit(p, CH_OUT) <= 0 || credit(p, CH_ERR) <= 0 || channel_crowded() ||
                                    p->pipes[CH_OUT].owed || p->pipes[CH_ERR].owed);
      if (waits && now >= p->drain_deadline) p->drain_deadline = now + DRAIN_MILLIS;
      finish_if_over(p);
    } else if (p->deadline && now >= p->deadline) {
      p->timed_out = true;
      p->deadline = 0;
      kill(-p->pid, SIGKILL);
    }
  }
}

void process_resume_output(void) {
  if (channel_crowded()) return;
  for (struct process *p = processes, *next; p; p = next) {
    next = p->next;
    pump_outputs(p);
  }
}

int process_running(void) {
  int count = 0;
  for (struct process *p = processes; p; p = p->next) count += !p->exited;
  return count;
}
