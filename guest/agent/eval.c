/* The warm interpreter: one process that is asked over a socket pair, one question at a time. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ANSWER (64u << 20)
#define READ_BYTES (1u << 20) /* in one turn of the loop */
#define INTERRUPT_GRACE_MILLIS 3000 /* a machine may stall for that long, and a state is lost for it */
#define RESEED_TIMEOUT_MILLIS 3000
#define EVALUATOR_PATH "/run/forkd/evaluator.py"
/* A length no program text can have asks for something else. */
#define ASK_RESEED 0xffffffffu

/* One question. */
struct eval {
  struct eval *next;
  struct stream *stream;
  struct buffer code, answer;
  bool complete; /* all of the code is here */
  json_int_t timeout;
  size_t answered; /* bytes of the answer that were sent */
  bool done;
};

enum state { NONE, STARTING, READY, BUSY, FAILED };
static enum state state = NONE;
static struct source pipe_end = {.fd = -1};
static pid_t pid;
static char interpreter[256];
static json_t *hello;
static struct buffer received;
static struct eval *queue; /* first: the one that is asked */
static struct eval *current;
static int64_t deadline, kill_deadline;
static bool launched;
static char obstacle[300]; /* why it could not be started at all */
static int settled_tasks = 1;
static bool launch_wanted;    /* as soon as its cgroup is not frozen any more */
static bool reseed_wanted;    /* as soon as it can be asked: it was starting when an epoch began */
static bool lingering;        /* it had more threads or children when last looked at */

static void ask_next(void);
static void launch(void);
static bool send_question(uint32_t word, const void *data, size_t size);

const char *eval_state(void) {
  static const char *names[] = {"none", "starting", "ready", "busy", "failed"};
  return names[state];
}
bool eval_settled(void) { return state != STARTING; }

bool eval_quiet(void) {
  if (queue || state == BUSY || state == STARTING) return false;
  lingering = state == READY && cgroup_eval_tasks() > settled_tasks;
  return !lingering;
}
bool eval_lingers(void) { return lingering && !queue && state == READY; }

json_t *eval_description(void) {
  json_t *d = json_pack("{s:s,s:i,s:s,s:i}", "agent", AGENT_VERSION, "protocol", AGENT_PROTOCOL, "evaluator", eval_state(), "streams", MAX_STREAMS);
  if (hello) json_object_update(d, hello);
  else if (state == NONE || state == FAILED)
    json_object_set_new(d, "detail", json_string(*obstacle  ? obstacle
                                                  : launched ? "the interpreter ends as soon as it is started"
                                                             : "no python3 in the image"));
  return d;
}

static void eval_remove(struct eval *e) {
  for (struct eval **at = &queue; *at; at = &(*at)->next)
    if (*at == e) {
      *at = e->next;
      break;
    }
  buffer_free(&e->code);
  buffer_free(&e->answer);
  free(e);
}

/* Nothing that waits for it must wait for ever. */
static void give_up(void) {
  state = FAILED;
  announce_ready();
  while (queue) {
    struct eval *waiting = queue;
    if (waiting->stream) stream_fail(waiting->stream, "unavailable", "the interpreter cannot be started");
    eval_remove(waiting);
  }
  announce_idle();
}

static void interpreter_gone(void) {
  if (pipe_end.fd >= 0) {
    loop_remove(&pipe_end);
    close(pipe_end.fd);
    pipe_end.fd = -1;
  }
  pid = 0;
  deadline = kill_deadline = 0;
  buffer_clear(&received);
  struct eval *e = current;
  current = NULL;
  if (e && e->stream) {
    bool timed_out = e->timeout < 0;
    stream_fail(e->stream, timed_out ? "deadline_exceeded" : "unavailable",
                timed_out ? "the code did not end in time and could not be interrupted; the interpreter was started anew, its state is lost"
                          : "the interpreter ended while it evaluated; it was started anew, its state is lost");
  }
  if (e) eval_remove(e);
  if (state == STARTING) give_up();
  else launch();
}

bool eval_reaped(pid_t dead, int status) {
  (void)status;
  if (!pid || dead != pid) return false;
  interpreter_gone();
  return true;
}

static bool send_all(const void *data, size_t size) {
  const uint8_t *at = data;
  while (size) {
    ssize_t n = send(pipe_end.fd, at, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      struct pollfd wait = {.fd = pipe_end.fd, .events = POLLOUT};
      if (poll(&wait, 1, RESEED_TIMEOUT_MILLIS) > 0) continue;
    }
    if (n <= 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

static bool send_question(uint32_t word, const void *data, size_t size) {
  return send_all(&word, sizeof word) && send_all(data, size);
}

/* Sends as much of a finished answer as the host has room for; true when all is said. */
static bool pump_answer(struct eval *e) {
  while (e->answered < buffer_size(&e->answer)) {
    int64_t credit = e->stream->send_credit[CH_OUT];
    if (credit <= 0) return false;
    size_t piece = buffer_size(&e->answer) - e->answered;
    if (piece > MAX_PAYLOAD) piece = MAX_PAYLOAD;
    if ((int64_t)piece > credit) piece = (size_t)credit;
    send_frame(e->stream->id, F_DATA, CH_OUT, buffer_at(&e->answer) + e->answered, piece);
    e->stream->send_credit[CH_OUT] -= (int64_t)piece;
    e->answered += piece;
  }
  struct stream *s = e->stream;
  eval_remove(e);
  stream_end(s, json_object());
  return true;
}

static void answered(const uint8_t *data, size_t size) {
  struct eval *e = current;
  bool interrupted = kill_deadline != 0;
  current = NULL;
  deadline = kill_deadline = 0;
  state = READY;
  if (!e) return;
  if (!e->stream) {
    eval_remove(e);
  } else if (interrupted) {
    struct stream *s = e->stream;
    eval_remove(e);
    stream_fail(s, "deadline_exceeded", "the code did not end in time and was interrupted; the interpreter keeps its state");
  } else {
    e->done = true;
    buffer_add(&e->answer, data, size);
    pump_answer(e);
  }
}

static void greeted(const uint8_t *data, size_t size) {
  json_error_t error;
  char sample[33];
  json_decref(hello);
  hello = json_loadb((const char *)data, size, 0, &error);
  state = READY;
  settled_tasks = cgroup_eval_tasks();
  /* No code of the user's has run in it yet, so this is early enough. */
  if (reseed_wanted && !eval_reseed(sample)) kill(pid, SIGKILL);
  reseed_wanted = false;
  announce_ready();
  announce_idle();
}

static void interpreter_ready(struct source *self, uint32_t events) {
  uint8_t data[16384];
  (void)events;
  for (size_t got = 0; got < READ_BYTES;) {
    ssize_t n = read(self->fd, data, sizeof data);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    if (n == 0) { /* its end is told by the signal; one that only closed its pipe is of no use */
      kill(pid, SIGKILL);
      loop_remove(&pipe_end);
      close(pipe_end.fd);
      pipe_end.fd = -1;
      return;
    }
    buffer_add(&received, data, (size_t)n);
    got += (size_t)n;
  }
  while (buffer_size(&received) >= 4) {
    uint32_t size;
    memcpy(&size, buffer_at(&received), 4);
    if (size > MAX_ANSWER) {
      kill(pid, SIGKILL);
      return;
    }
    if (buffer_size(&received) < 4 + (size_t)size) break;
    const uint8_t *answer = buffer_at(&received) + 4;
    if (state == STARTING) greeted(answer, size);
    else answered(answer, size);
    buffer_consume(&received, 4 + (size_t)size);
  }
  ask_next();
}

static void ask_next(void) {
  if (state != READY) return;
  for (struct eval *e = queue; e; e = e->next) {
    if (e->done || !e->complete) continue;
    current = e;
    state = BUSY;
    deadline = e->timeout > 0 ? now_millis() + e->timeout : 0;
    if (!send_question((uint32_t)buffer_size(&e->code), buffer_at(&e->code), buffer_size(&e->code))) kill(pid, SIGKILL);
    buffer_free(&e->code);
    return;
  }
}

static void eval_input(struct stream *s, const uint8_t *data, size_t size) {
  struct eval *e = s->state;
  if (e->complete) { /* what comes behind the end of the code is nothing */
    stream_consumed(s, size);
    return;
  }
  if (buffer_size(&e->code) + size > MAX_REQUEST) {
    eval_remove(e);
    stream_fail(s, "invalid_argument", "code is longer than %u bytes", MAX_REQUEST);
    return;
  }
  buffer_add(&e->code, data, size);
  stream_consumed(s, size);
}

static void eval_input_end(struct stream *s) {
  ((struct eval *)s->state)->complete = true;
  ask_next();
}

static void eval_credit(struct stream *s) {
  struct eval *e = s->state;
  if (e->done) pump_answer(e);
}

static void eval_drop(struct stream *s) {
  struct eval *e = s->state;
  e->stream = NULL;
  if (e != current) {
    eval_remove(e);
    return;
  }
  /* Nobody waits for it: it is interrupted, and killed if it does not listen. */
  if (!kill_deadline) {
    kill(pid, SIGINT);
    kill_deadline = now_millis() + INTERRUPT_GRACE_MILLIS;
    deadline = 0;
  }
}

static void eval_leave(struct stream *s) {
  struct eval *e = s->state;
  e->stream = NULL;
  if (e != current) eval_remove(e); /* the one that runs goes on unheard */
}

static const struct stream_ops eval_ops = {
    .input = eval_input,
    .input_end = eval_input_end,
    .credit = eval_credit,
    .cancel = eval_drop,
    .detach = eval_leave,
};

void eval_start(struct stream *s, json_t *request) {
  int waiting = 0;
  if (state == FAILED && hello) launch(); /* it has worked before: perhaps there was no memory */
  if (state == NONE || state == FAILED) {
    stream_fail(s, "unimplemented", "the image has no interpreter for eval: looked for python3 in %s%s",
                defaults_path(), state == FAILED ? "; it is there but does not start" : "");
    return;
  }
  for (struct eval *e = queue; e; e = e->next) waiting++;
  if (waiting >= MAX_EVALS) {
    stream_fail(s, "resource_exhausted", "%d evaluations already wait for the interpreter", waiting);
    return;
  }
  struct eval *e = calloc(1, sizeof *e);
  if (!e) fatal("out of memory for an evaluation");
  e->stream = s;
  e->timeout = json_integer_value(json_object_get(request, "timeoutMillis"));
  s->state = e;
  s->ops = &eval_ops;
  struct eval **at = &queue;
  while (*at) at = &(*at)->next;
  *at = e;
}

/* Its time does not run out while it is not allowed to run. */
int64_t eval_next_deadline(void) { return cgroup_eval_frozen() ? 0 : kill_deadline ? kill_deadline : deadline; }

void eval_thawed(void) {
  if (launch_wanted) launch();
}

void eval_check_deadlines(void) {
  if (cgroup_eval_frozen()) return;
  int64_t now = now_millis();
  if (kill_deadline && now >= kill_deadline) {
    kill_deadline = 0;
    if (current) current->timeout = -1;
    kill(-pid, SIGKILL);
  } else if (deadline && now >= deadline) {
    deadline = 0;
    kill(pid, SIGINT);
    kill_deadline = now + INTERRUPT_GRACE_MILLIS;
  }
}

/* Gives the interpreter's own generators a new seed, and asks for a sample to prove it. One that is
 * busy gets a signal instead, which it handles before its next step; it proves nothing. */
bool eval_reseed(char sample_hex[33]) {
  sample_hex[0] = 0;
  if (state == STARTING) return reseed_wanted = true;
  if (state == BUSY) return kill(pid, SIGUSR1) == 0;
  if (state != READY || !send_question(ASK_RESEED, "", 0)) return state == NONE || state == FAILED;
  uint8_t answer[36];
  size_t got = 0;
  while (got < sizeof answer) {
    struct pollfd wait = {.fd = pipe_end.fd, .events = POLLIN};
    if (poll(&wait, 1, RESEED_TIMEOUT_MILLIS) <= 0) return false;
    ssize_t n = read(pipe_end.fd, answer + got, sizeof answer - got);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) return false;
    got += (size_t)n;
  }
  memcpy(sample_hex, answer + 4, 32);
  sample_hex[32] = 0;
  return true;
}

static void launch(void) {
  int ends[2];
  launch_wanted = cgroup_eval_frozen();
  if (launch_wanted) {
    state = STARTING;
    return;
  }
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
    give_up();
    return;
  }
  const char *script = host_mode ? getenv("FORKD_EVALUATOR") : EVALUATOR_PATH;
  char *argv[] = {interpreter, "-u", (char *)(script ? script : "evaluator.py"), NULL};
  struct command who = {.spawn = {.argv = argv, .keep_fd = ends[1], .cgroup_fd = cgroup_eval_fd}};
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const char *step;
  /* Code is evaluated as a command of that image would run: by its user, in its folder, with its environment. */
  bool started = command_user(defaults_user(), &who, obstacle, sizeof obstacle);
  if (started) {
    json_t *one = json_object_get(defaults_env(), "OPENBLAS_NUM_THREADS") ? NULL : json_pack("{s:s}", "OPENBLAS_NUM_THREADS", "1");
    char **env = command_environment(one, &who.account);
    const char *folder = defaults_folder();
    who.spawn.env = env;
    who.spawn.cwd = folder ? folder : "/";
    who.spawn.fds[0] = who.spawn.fds[1] = null;
    who.spawn.fds[2] = host_mode ? 2 : null;
    started = spawn_process(&who.spawn, &pid, &step);
    if (!started) snprintf(obstacle, sizeof obstacle, "cannot run %.200s: %s (%s)", interpreter, strerror(errno), step);
    free_strings(env);
    json_decref(one);
  }
  close(null);
  close(ends[1]);
  if (!started) {
    close(ends[0]);
    give_up();
    return;
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  pipe_end.fd = ends[0];
  pipe_end.ready = interpreter_ready;
  loop_add(&pipe_end, EPOLLIN);
  state = STARTING;
  launched = true;
}

/* Where the image looks for programs: its own interpreter may be in a virtual environment. */
static bool find_interpreter(void) {
  for (const char *at = defaults_path(); *at; at += *at == ':') {
    int length = (int)strcspn(at, ":");
    snprintf(interpreter, sizeof interpreter, "%.*s/python3", length, at);
    at += length;
    if (*interpreter == '/' && (size_t)length + sizeof "/python3" <= sizeof interpreter && !access(interpreter, X_OK)) return true;
  }
  return false;
}

void eval_launch(const char *mode) {
  if (strcmp(mode, "none") && find_interpreter()) launch();
}
