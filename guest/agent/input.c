/* What is written to programs. Requests that write to the same kept process, or close its input, wait for each other. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct input {
  struct input *next;
  struct input_queue *queue; /* null once its process takes no more */
  pid_t pid;
  struct stream *stream;
  struct buffer buffer;
  bool ended, closes, taken;
};

int pipe_write(int fd, struct buffer *b, struct stream *s) {
  while (buffer_size(b)) {
    ssize_t n = write(fd, buffer_at(b), buffer_size(b));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    buffer_consume(b, (size_t)n);
    if (s) stream_consumed(s, (size_t)n);
  }
  return 0;
}

/* Input for a terminal goes where its output comes from. */
static int input_fd(const struct program *p) { return p->pipes[p->terminal ? CH_OUT : CH_IN].source.fd; }

static void unlink_input(struct input *in) {
  if (!in->queue) return;
  for (struct input **at = &in->queue->first; *at; at = &(*at)->next)
    if (*at == in) {
      *at = in->next;
      break;
    }
  in->queue = NULL;
}

static void done(struct input *in, const char *failure) {
  unlink_input(in);
  struct stream *s = in->stream;
  pid_t pid = in->pid;
  buffer_free(&in->buffer);
  free(in);
  if (!s) return;
  if (failure) stream_fail(s, "failed_precondition", "process %d %s", (int)pid, failure);
  else stream_end(s, json_object());
}

/* Its process takes no more. That is no failure if it took all there was: what is still to come may be no more than the end. */
static void over(struct input *in, const char *failure) {
  if (!in->taken || buffer_size(&in->buffer)) done(in, failure);
  else if (in->ended) done(in, NULL);
  else unlink_input(in);
}

void input_pump(struct input_queue *queue) {
  struct program *p = queue->program;
  struct input *in;
  while ((in = queue->first)) {
    int fd = input_fd(p);
    if (fd < 0) {
      over(in, "has no open input");
      continue;
    }
    if (in->closes) {
      pipe_close(&p->pipes[CH_IN]);
      done(in, NULL);
      continue;
    }
    size_t before = buffer_size(&in->buffer);
    int error = pipe_write(fd, &in->buffer, in->stream);
    if (buffer_size(&in->buffer) < before) in->taken = true;
    if (error == EAGAIN) return;
    if (error) {
      if (!p->terminal) pipe_close(&p->pipes[CH_IN]);
      done(in, "reads its input no more");
    } else if (in->ended) {
      done(in, NULL);
    } else {
      return;
    }
  }
}

void input_over(struct input_queue *queue) {
  while (queue->first) over(queue->first, "has ended before it read all");
}

static void input_data(struct stream *s, const uint8_t *data, size_t size) {
  struct input *in = s->state;
  if (!in->queue) {
    done(in, "has ended before it read all");
    return;
  }
  buffer_add(&in->buffer, data, size);
  input_pump(in->queue);
}

static void input_end(struct stream *s) {
  struct input *in = s->state;
  in->ended = true;
  if (in->queue) input_pump(in->queue);
  else done(in, NULL);
}

static void input_cancel(struct stream *s) {
  struct input *in = s->state;
  struct input_queue *queue = in->queue;
  in->stream = NULL;
  done(in, NULL);
  if (queue) input_pump(queue);
}

static const struct stream_ops input_ops = {.input = input_data, .input_end = input_end, .cancel = input_cancel};

void input_start(struct input_queue *queue, struct stream *s, bool closes) {
  struct program *p = queue->program;
  if (input_fd(p) < 0 || (closes && p->terminal)) {
    stream_fail(s, "failed_precondition", "process %d has no %s", (int)p->pid,
                p->terminal ? "input that could be closed: it has a terminal" : "open input");
    return;
  }
  struct input *in = calloc(1, sizeof *in);
  if (!in) fatal("out of memory for input");
  in->queue = queue;
  in->pid = p->pid;
  in->stream = s;
  in->closes = closes;
  struct input **at = &queue->first;
  while (*at) at = &(*at)->next;
  *at = in;
  s->state = in;
  s->ops = &input_ops;
  input_pump(queue);
}
