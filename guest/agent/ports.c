/* TCP connections to the guest's own ports, over the channel: no network is needed. */
#include "agent.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MILLIS 5000

struct connection {
  struct source source; /* first: a source is cast back to its connection */
  struct connection *next;
  struct stream *stream;
  int port;
  bool second, connected, input_ended, shut, output_ended;
  int64_t deadline; /* 0: none */
  struct buffer input;
};
static struct connection *connections;

static void connection_free(struct connection *c) {
  for (struct connection **at = &connections; *at; at = &(*at)->next)
    if (*at == c) {
      *at = c->next;
      break;
    }
  if (c->source.fd >= 0) {
    loop_remove(&c->source);
    close(c->source.fd);
  }
  buffer_free(&c->input);
  free(c);
}

static void fail(struct connection *c, int error) {
  struct stream *s = c->stream;
  int port = c->port;
  bool connected = c->connected;
  connection_free(c);
  if (connected) stream_fail(s, "unavailable", "port %d: %s", port, strerror(error));
  else stream_fail(s, error == ETIMEDOUT ? "deadline_exceeded" : "not_found", "nothing listens at port %d: %s", port, strerror(error));
}

static void pump_output(struct connection *c) {
  static uint8_t data[MAX_PAYLOAD];
  while (!c->output_ended && c->stream->send_credit[CH_OUT] > 0 && !channel_crowded()) {
    int64_t credit = c->stream->send_credit[CH_OUT];
    ssize_t n = read(c->source.fd, data, (int64_t)sizeof data > credit ? (size_t)credit : sizeof data);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) {
      fail(c, errno);
      return;
    }
    if (n == 0) {
      c->output_ended = true;
      send_frame(c->stream->id, F_EOF, CH_OUT, NULL, 0);
      break;
    }
    c->stream->send_credit[CH_OUT] -= n;
    send_frame(c->stream->id, F_DATA, CH_OUT, data, (size_t)n);
  }
  if (c->output_ended && c->shut) {
    struct stream *s = c->stream;
    connection_free(c);
    stream_end(s, json_object());
  }
}

/* False when the connection is gone. */
static bool pump_input(struct connection *c) {
  while (buffer_size(&c->input)) {
    ssize_t n = send(c->source.fd, buffer_at(&c->input), buffer_size(&c->input), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0) { /* it takes no more, but may still have something to say */
      stream_consumed(c->stream, buffer_size(&c->input));
      buffer_clear(&c->input);
      c->input_ended = true;
      break;
    }
    buffer_consume(&c->input, (size_t)n);
    stream_consumed(c->stream, (size_t)n);
  }
  if (c->input_ended && !c->shut) {
    c->shut = true;
    shutdown(c->source.fd, SHUT_WR);
  }
  return true;
}

static void pump(struct connection *c) {
  if (pump_input(c)) pump_output(c);
}

static bool begin(struct connection *c);

static void connection_ready(struct source *source, uint32_t events) {
  struct connection *c = (struct connection *)source;
  (void)events;
  if (!c->connected) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == ECONNREFUSED && !c->second) {
      loop_remove(source);
      close(source->fd);
      source->fd = -1;
      c->second = true;
      if (begin(c)) return;
      error = errno;
    }
    if (error) {
      fail(c, error);
      return;
    }
    struct sockaddr_storage peer;
    size = sizeof peer;
    if (getpeername(source->fd, (struct sockaddr *)&peer, &size)) return; /* not yet */
    c->connected = true;
    c->deadline = 0;
    send_json(c->stream->id, F_NOTE, json_object());
  }
  pump(c);
}

/* Begins to connect: true when it is under way or done; the loop tells. */
static bool begin(struct connection *c) {
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)c->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int one = 1;
  int fd = socket(c->second ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    /* A kernel without IPv6 has nothing listening there. */
    if (c->second) errno = ECONNREFUSED;
    return false;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  int failed = c->second ? connect(fd, (struct sockaddr *)&six, sizeof six) : connect(fd, (struct sockaddr *)&four, sizeof four);
  if (failed && errno != EINPROGRESS) {
    int error = errno;
    close(fd);
    if (error == ECONNREFUSED && !c->second) {
      c->second = true;
      return begin(c);
    }
    errno = c->second ? ECONNREFUSED : error;
    return false;
  }
  c->source.fd = fd;
  c->source.ready = connection_ready;
  loop_add(&c->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  return true;
}

static void connection_input(struct stream *s, const uint8_t *data, size_t size) {
  struct connection *c = s->state;
  if (c->input_ended) {
    stream_consumed(s, size);
    return;
  }
  buffer_add(&c->input, data, size);
  if (c->connected) pump(c);
}

static void connection_input_end(struct stream *s) {
  struct connection *c = s->state;
  c->input_ended = true;
  if (c->connected) pump(c);
}

static void connection_credit(struct stream *s) {
  struct connection *c = s->state;
  if (c->connected) pump_output(c);
}

static void connection_cancel(struct stream *s) { connection_free(s->state); }

static const struct stream_ops connection_ops = {.input = connection_input, .input_end = connection_input_end, .credit = connection_credit, .cancel = connection_cancel};

void port_connect(struct stream *s, json_t *request) {
  json_int_t port = json_integer_value(json_object_get(request, "port"));
  if (port < 1 || port > 65535) {
    stream_fail(s, "invalid_argument", "connect needs a port, 1 to 65535");
    return;
  }
  struct connection *c = calloc(1, sizeof *c);
  if (!c) fatal("out of memory for a connection");
  c->source.fd = -1;
  c->stream = s;
  c->port = (int)port;
  c->deadline = now_millis() + CONNECT_MILLIS;
  c->next = connections;
  connections = c;
  s->state = c;
  s->ops = &connection_ops;
  if (!begin(c)) fail(c, errno);
}

int64_t port_next_deadline(void) {
  int64_t next = 0;
  for (struct connection *c = connections; c; c = c->next)
    if (c->deadline && (!next || c->deadline < next)) next = c->deadline;
  return next;
}

void port_check_deadlines(void) {
  for (struct connection *c = connections, *next; c; c = next) {
    next = c->next;
    if (c->deadline && now_millis() >= c->deadline) fail(c, ETIMEDOUT);
  }
}

void port_resume_output(void) {
  for (struct connection *c = connections, *next; c && !channel_crowded(); c = next) {
    next = c->next;
    if (c->connected) pump_output(c);
  }
}
