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
#include <unistd.h>

#define MAX_PROCESSES 256
#define MAX_EXITS 64
#define EXIT_MILLIS 60000

struct process;

/* A stream that hears what a process writes. */
struct listener {
  struct listener *next;
  struct process *process;
  struct stream *stream;
};

struct process {
  struct program program; /* first: a program is cast back to its process */
  struct process *next;   /* the youngest first */
  char *label;
  json_t *description;
  struct listener *listeners;
  struct input_queue inputs;
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

static void process_free(struct process *p) {
  for (struct process **at = &processes; *at; at = &(*at)->next)
    if (*at == p) {
      *at = p->next;
      break;
    }
  program_close(&p->program);
  json_decref(p->description);
  free(p->label);
  free(p);
}

static void finish_if_over(struct process *p) {
  if (!program_over(&p->program)) return;
  input_over(&p->inputs);
  struct ended *end = &exits[next_exit++ % MAX_EXITS];
  free(end->label);
  *end = (struct ended){.pid = p->program.pid, .label = p->label, .status = p->program.status, .timed_out = p->program.timed_out, .at = now_millis()};
  p->label = NULL;
  struct listener *l = p->listeners;
  p->listeners = NULL;
  while (l) {
    struct listener *next = l->next;
    stream_end(l->stream, program_result(end->status, end->timed_out));
    free(l);
    l = next;
  }
  process_free(p);
}

/* How much all who listen can take. */
static int64_t room(const struct program *program, int on) {
  const struct process *p = (const struct process *)program;
  if (!p->listeners) return UNHEARD;
  int64_t least = MAX_PAYLOAD;
  for (struct listener *l = p->listeners; l; l = l->next)
    if (l->stream->send_credit[on] < least) least = l->stream->send_credit[on];
  return least;
}

static void deliver(struct program *program, int on, const uint8_t *data, size_t size) {
  for (struct listener *l = ((struct process *)program)->listeners; l; l = l->next) {
    l->stream->send_credit[on] -= (int64_t)size;
    send_frame(l->stream->id, F_DATA, on, data, size);
  }
}

static void pipe_ready(struct source *source, uint32_t events) {
  struct pipe_end *pipe = (struct pipe_end *)source;
  struct process *p = (struct process *)pipe->program;
  if (events & (EPOLLOUT | EPOLLERR)) input_pump(&p->inputs);
  if (pipe->channel != CH_IN) pipe_read(pipe);
  finish_if_over(p);
}

static const struct program_ops program_ops = {.room = room, .deliver = deliver, .ready = pipe_ready};

static void read_output(struct process *p) {
  program_read(&p->program);
  finish_if_over(p);
}

static void listen_credit(struct stream *s) { read_output(((struct listener *)s->state)->process); }

static void listen_stop(struct stream *s) {
  struct listener *l = s->state;
  struct process *p = l->process;
  for (struct listener **at = &p->listeners; *at; at = &(*at)->next)
    if (*at == l) {
      *at = l->next;
      break;
    }
  free(l);
  read_output(p);
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
  send_json(s->id, F_NOTE, json_pack("{s:i}", "pid", (int)p->program.pid));
}

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
  json_object_set_new(p->description, "pid", json_integer(p->program.pid));
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
  program_init(&p->program, &program_ops);
  p->inputs.program = &p->program;
  p->program.terminal = json_is_object(pty);
  const char *step = "pipes";
  bool input = json_is_true(json_object_get(request, "stdin"));
  bool started = (p->program.terminal ? open_terminal(&command.spawn, pty, &p->program.pipes[CH_OUT].source.fd)
                                      : program_pipes(&p->program, &command.spawn, input, true)) &&
                 spawn_process(&command.spawn, &p->program.pid, &step);
  int error = errno;
  spawn_close(&command.spawn);
  p->next = processes;
  processes = p;
  if (!started) {
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
  p->program.deadline = lifetime > 0 ? now_millis() + lifetime : 0;
  describe(p, request);
  listen_to(p, s);
  program_watch(&p->program);
}

static bool is_meant(json_t *request, pid_t pid, const char *label) {
  json_t *number = json_object_get(request, "pid");
  const char *wanted = json_string_value(json_object_get(request, "label"));
  return json_is_integer(number) ? json_integer_value(number) == pid : wanted && label && !strcmp(wanted, label);
}

static void attach(struct stream *s, json_t *request) {
  for (struct process *p = processes; p; p = p->next)
    if (is_meant(request, p->program.pid, p->label)) {
      listen_to(p, s);
      return;
    }
  for (size_t i = 0; i < MAX_EXITS; i++) {
    struct ended *end = &exits[(next_exit + MAX_EXITS - 1 - i) % MAX_EXITS];
    if (!end->pid || now_millis() - end->at > EXIT_MILLIS || !is_meant(request, end->pid, end->label)) continue;
    send_json(s->id, F_NOTE, json_pack("{s:i}", "pid", (int)end->pid));
    stream_end(s, program_result(end->status, end->timed_out));
    return;
  }
  stream_fail(s, "not_found", "no such process is kept");
}

static void list(struct stream *s) {
  json_t *all = json_array();
  size_t bytes = 0;
  for (struct process *p = processes; p; p = p->next) {
    if (p->program.exited) continue;
    if ((bytes += json_size(p->description)) > MAX_ANSWER_BYTES) {
      json_decref(all);
      stream_fail(s, "resource_exhausted", "what the processes were started with is too much for one answer; end some");
      return;
    }
    size_t at = 0;
    while (at < json_array_size(all) &&
           json_integer_value(json_object_get(json_array_get(all, at), "pid")) < p->program.pid)
      at++;
    json_array_insert(all, at, p->description);
  }
  stream_end(s, json_pack("{s:o}", "processes", all));
}

static void resize(struct process *p, struct stream *s, json_t *request) {
  if (!p->program.terminal || p->program.pipes[CH_OUT].source.fd < 0) {
    stream_fail(s, "failed_precondition", "process %d has no terminal", (int)p->program.pid);
    return;
  }
  if (!is_size(request)) {
    stream_fail(s, "invalid_argument", "resize needs columns and rows, 1 to 65535 each");
    return;
  }
  struct winsize wanted = {.ws_col = (unsigned short)json_integer_value(json_object_get(request, "columns")),
                           .ws_row = (unsigned short)json_integer_value(json_object_get(request, "rows"))};
  if (ioctl(p->program.pipes[CH_OUT].source.fd, TIOCSWINSZ, &wanted)) {
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
  kill(-p->program.pid, (int)number);
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
  while (p && (p->program.exited || !is_meant(request, p->program.pid, p->label))) p = p->next;
  if (!p) stream_fail(s, "not_found", "no such process is kept");
  else if (!strcmp(op, "input")) input_start(&p->inputs, s, false);
  else if (!strcmp(op, "closeInput")) input_start(&p->inputs, s, true);
  else if (!strcmp(op, "signal")) send_signal(p, s, request);
  else resize(p, s, request);
  return true;
}

bool process_reaped(pid_t pid, int status) {
  for (struct process *p = processes; p; p = p->next) {
    if (p->program.pid != pid || p->program.exited) continue;
    program_ended(&p->program, status);
    finish_if_over(p);
    return true;
  }
  return false;
}

int64_t process_next_deadline(void) {
  int64_t next = 0;
  for (struct process *p = processes; p; p = p->next) {
    int64_t mine = program_deadline(&p->program);
    if (mine && (!next || mine < next)) next = mine;
  }
  return next;
}

void process_check_deadlines(void) {
  int64_t now = now_millis();
  for (struct process *p = processes, *next; p; p = next) {
    next = p->next;
    program_check_deadline(&p->program, now);
    finish_if_over(p);
  }
}

void process_resume_output(void) {
  if (channel_crowded()) return;
  for (struct process *p = processes, *next; p; p = next) {
    next = p->next;
    read_output(p);
  }
}

int process_running(void) {
  int count = 0;
  for (struct process *p = processes; p; p = p->next) count += !p->program.exited;
  return count;
}
