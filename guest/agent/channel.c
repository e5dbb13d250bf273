/* The byte stream to the host: finding its beginning, cutting it into frames, sending others. */
#include "agent.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define OUTPUT_CROWDED (1u << 20)

struct source channel = {.fd = -1};

static uint8_t token[TOKEN_BYTES] = "forkd-agent-resync-token-0000000";
static bool token_changed;
static size_t recent; /* how many of the last bytes read are kept, to find a token that was split */
static bool in_sync;
static bool synced;
static uint8_t frame[HEADER_BYTES + MAX_PAYLOAD];
static size_t frame_size;
static struct buffer output;
static struct stream *streams[MAX_STREAMS];
static struct stream *by_id[MAX_STREAMS]; /* by the lowest bits of their numbers */
static int stream_count;
static int last_idle = -1;
static size_t incomplete_bytes; /* of requests whose end is not here yet */

void channel_set_token(const uint8_t next[TOKEN_BYTES]) {
  memcpy(token, next, TOKEN_BYTES);
  token_changed = true;
}

bool channel_crowded(void) { return buffer_size(&output) > OUTPUT_CROWDED; }

int open_streams(void) { return stream_count; }

void channel_flush(void) {
  while (channel.fd >= 0 && buffer_size(&output)) {
    ssize_t n = write(channel.fd, buffer_at(&output), buffer_size(&output));
    if (n <= 0) {
      if (n < 0 && errno == EINTR) continue;
      return; /* told again when there is room, or when a host connects */
    }
    buffer_consume(&output, (size_t)n);
  }
}

static uint32_t little_endian(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_header(uint8_t *at, uint32_t stream, enum frame_type type, int flags, size_t size) {
  at[0] = (uint8_t)stream, at[1] = (uint8_t)(stream >> 8);
  at[2] = (uint8_t)(stream >> 16), at[3] = (uint8_t)(stream >> 24);
  at[4] = (uint8_t)size, at[5] = (uint8_t)(size >> 8);
  at[6] = (uint8_t)type, at[7] = (uint8_t)flags;
}

void send_frame(uint32_t stream, enum frame_type type, int flags, const void *data, size_t size) {
  uint8_t header[HEADER_BYTES];
  if (!synced) return;
  put_header(header, stream, type, flags, size);
  buffer_add(&output, header, sizeof header);
  buffer_add(&output, data, size);
  /* Written at the end of the loop's turn, many frames at once. */
}

void send_json(uint32_t stream, enum frame_type type, json_t *json) {
  char *text = json_dumps(json, JSON_COMPACT);
  json_decref(json);
  if (!text) fatal("a reply that cannot be written as JSON");
  size_t size = strlen(text), at = 0;
  do {
    size_t piece = size - at > MAX_PAYLOAD ? MAX_PAYLOAD : size - at;
    send_frame(stream, type, at + piece < size ? FLAG_MORE : 0, text + at, piece);
    at += piece;
  } while (at < size);
  free(text);
}

static void stream_free(struct stream *s) {
  for (struct stream **at = &by_id[s->id % MAX_STREAMS]; *at; at = &(*at)->next)
    if (*at == s) {
      *at = s->next;
      break;
    }
  for (int i = 0; i < stream_count; i++)
    if (streams[i] == s) {
      streams[i] = streams[--stream_count];
      break;
    }
  if (!s->ops) incomplete_bytes -= buffer_size(&s->request);
  buffer_free(&s->request);
  free(s);
}

void stream_end(struct stream *s, json_t *result) {
  uint32_t id = s->id;
  stream_free(s);
  bool idle = guest_idle();
  json_object_set_new(result, "idle", json_boolean(idle));
  last_idle = idle;
  send_json(id, F_END, result);
}

void stream_fail(struct stream *s, const char *code, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  uint32_t id = s->id;
  stream_free(s);
  /* A path in it may have been cut inside a character. */
  send_json(id, F_ERROR, json_pack("{s:s,s:o}", "code", code, "message", json_text(text)));
  announce_idle();
}

void stream_fail_errno(struct stream *s, int error, const char *what) {
  const char *code = "internal";
  switch (error) {
    case ENOENT: code = "not_found"; break;
    case EACCES: case EPERM: case EROFS: code = "permission_denied"; break;
    case EEXIST: case ENOTEMPTY: case EISDIR: case ENOTDIR: case EBUSY: case ELOOP: code = "failed_precondition"; break;
    case ENOSPC: case EDQUOT: case ENOMEM: case EMFILE: case EAGAIN: code = "resource_exhausted"; break;
    case EINVAL: case ENAMETOOLONG: case ENOEXEC: case E2BIG: code = "invalid_argument"; break;
    default: break;
  }
  stream_fail(s, code, "%s: %s", what, strerror(error));
}

void stream_consumed(struct stream *s, size_t size) {
  s->consumed += (uint32_t)size;
  if (s->consumed < INITIAL_CREDIT / 2) return;
  uint32_t credit = s->consumed;
  uint8_t bytes[4] = {(uint8_t)credit, (uint8_t)(credit >> 8), (uint8_t)(credit >> 16), (uint8_t)(credit >> 24)};
  s->receive_credit += credit;
  s->consumed = 0;
  send_frame(s->id, F_WINDOW, CH_IN, bytes, sizeof bytes);
}

void announce_idle(void) {
  if (!synced) return;
  bool idle = guest_idle();
  if (idle == last_idle) return;
  last_idle = idle;
  uint8_t value = idle;
  send_frame(0, F_IDLE, 0, &value, 1);
}

void announce_ready(void) {
  if (synced && eval_settled()) send_json(0, F_READY, eval_description());
}

void forget_streams(void) {
  while (stream_count) {
    struct stream *s = streams[stream_count - 1];
    if (s->ops && s->ops->detach) s->ops->detach(s);
    else if (s->ops && s->ops->cancel) s->ops->cancel(s);
    stream_free(s);
  }
}

/* What waited for room in the channel goes on. */
void resume_output(void) {
  exec_resume_output();
  process_resume_output();
  port_resume_output();
  files_resume_output();
  work_resume_output();
}

static void out_of_step(const char *why) {
  note("protocol error: %s; waiting for a new conversation", why);
  in_sync = synced = false;
  frame_size = 0;
  forget_streams();
  buffer_clear(&output);
}

static struct stream *find_stream(uint32_t id) {
  struct stream *s = by_id[id % MAX_STREAMS];
  while (s && s->id != id) s = s->next;
  return s;
}

static void start_request(struct stream *s) {
  json_error_t error;
  json_t *request =
      json_loadb((const char *)buffer_at(&s->request), buffer_size(&s->request), 0, &error);
  incomplete_bytes -= buffer_size(&s->request);
  buffer_free(&s->request);
  const char *op = json_string_value(json_object_get(request, "op"));
  if (!op) {
    stream_fail(s, "invalid_argument", "request is not a JSON object with an op");
  } else if (!strcmp(op, "exec")) {
    exec_start(s, request);
  } else if (!strcmp(op, "eval")) {
    eval_start(s, request);
  } else if (!strcmp(op, "connect")) {
    port_connect(s, request);
  } else if (!files_start(s, op, request) && !process_start(s, op, request) && !guest_start(s, op, request)) {
    stream_fail(s, "unimplemented", "this agent (%s) has no '%s'", AGENT_VERSION, op);
  }
  json_decref(request);
}

static bool open_frame(uint32_t id, int flags, const uint8_t *data, size_t size) {
  struct stream *s = find_stream(id);
  if (s && s->ops) return false;
  if (!s) {
    if (stream_count == MAX_STREAMS || !(s = calloc(1, sizeof *s))) return false;
    s->id = id;
    for (int i = 0; i < 3; i++) s->send_credit[i] = INITIAL_CREDIT;
    s->receive_credit = INITIAL_CREDIT;
    s->next = by_id[id % MAX_STREAMS];
    by_id[id % MAX_STREAMS] = s;
    streams[stream_count++] = s;
  }
  if (buffer_size(&s->request) + size > MAX_REQUEST || incomplete_bytes + size > 2 * MAX_REQUEST) return false;
  incomplete_bytes += size;
  buffer_add(&s->request, data, size);
  if (!(flags & FLAG_MORE)) start_request(s);
  return true;
}

static bool stream_frame(uint32_t id, enum frame_type type, int flags, const uint8_t *data, size_t size) {
  struct stream *s = find_stream(id);
  if (type < F_OPEN || type > F_CANCEL) return false;
  if (type == F_OPEN) return open_frame(id, flags, data, size);
  if (!s || !s->ops) return true; /* it has ended here while the frame was on its way */
  switch (type) {
    case F_DATA:
      if (flags != CH_IN || (s->receive_credit -= (int64_t)size) < 0) return false;
      if (s->ops->input) s->ops->input(s, data, size);
      else stream_consumed(s, size);
      return true;
    case F_EOF:
      if (s->ops->input_end) s->ops->input_end(s);
      return true;
    case F_WINDOW: {
      if (size != 4 || flags < CH_OUT || flags > CH_ERR) return false;
      s->send_credit[flags] += little_endian(data);
      if (s->send_credit[flags] > INT32_MAX) return false;
      if (s->ops->credit) s->ops->credit(s);
      return true;
    }
    case F_SIGNAL:
      if (size != 1 || data[0] < 1 || data[0] > 64) return false;
      if (s->ops->signal) s->ops->signal(s, data[0]);
      return true;
    case F_CANCEL:
      if (s->ops->cancel) s->ops->cancel(s);
      stream_free(s);
      announce_idle();
      return true;
    default: return false;
  }
}

static void on_sync(const uint8_t *nonce) {
  synced = true;
  last_idle = -1;
  buffer_add(&output, nonce, NONCE_BYTES);
  announce_ready();
  announce_idle();
}

static bool dispatch(uint32_t id, enum frame_type type, int flags, const uint8_t *data, size_t size) {
  if (type == F_SYNC && id == 0 && size == NONCE_BYTES) {
    on_sync(data);
    return true;
  }
  if (!synced) return false;
  if (id != 0) return stream_frame(id, type, flags, data, size);
  if (type != F_CLOCK || size != 8) return false;
  uint64_t nanos = 0;
  for (int i = 7; i >= 0; i--) nanos = nanos << 8 | data[i];
  if (nanos > INT64_MAX) return false;
  guest_clock(nanos);
  return true;
}

static void begin_conversation(void) {
  forget_streams();
  buffer_clear(&output);
  in_sync = true;
  synced = false;
  frame_size = 0;
}

/* Takes what completes the frame that is being read, and handles the frame; returns how much that was. */
static size_t take(const uint8_t *data, size_t size) {
  size_t wanted = HEADER_BYTES;
  if (frame_size >= HEADER_BYTES) wanted += (size_t)frame[4] | (size_t)frame[5] << 8;
  size_t piece = wanted - frame_size < size ? wanted - frame_size : size;
  memcpy(frame + frame_size, data, piece);
  frame_size += piece;
  if (frame_size < HEADER_BYTES) return piece;
  size_t payload = (size_t)frame[4] | (size_t)frame[5] << 8;
  if (payload > MAX_PAYLOAD) {
    out_of_step("a frame that is too long");
  } else if (frame_size == HEADER_BYTES + payload) {
    frame_size = 0;
    if (!dispatch(little_endian(frame), frame[6], frame[7], frame + HEADER_BYTES, payload))
      out_of_step("a frame that makes no sense");
  }
  return piece;
}

/* Cuts the bytes in `at`..`end` into frames. The token is looked for first, in whatever state the
 * parser is, and with the end of what was read before (from `start`): it may have been cut anywhere,
 * and what stands before it is a former peer's. A frame may set another token; what follows it in the
 * same read is then searched anew. */
static void parse(const uint8_t *start, const uint8_t *at, const uint8_t *end) {
  for (;;) {
    const uint8_t *found;
    while ((found = memmem(start, (size_t)(end - start), token, TOKEN_BYTES))) {
      begin_conversation();
      start = at = found + TOKEN_BYTES;
    }
    token_changed = false;
    while (in_sync && at < end && !token_changed) at += take(at, (size_t)(end - at));
    if (!token_changed) break;
    start = at;
  }
  /* Bytes of a found token must not begin another one; those of a changed one neither. */
  recent = (size_t)(end - start) < TOKEN_BYTES - 1 ? (size_t)(end - start) : TOKEN_BYTES - 1;
}

static void channel_ready(struct source *self, uint32_t events) {
  static uint8_t input[TOKEN_BYTES + 65536];
  (void)events;
  for (;;) {
    ssize_t n = read(self->fd, input + recent, sizeof input - recent);
    if (n < 0 && errno == EINTR) continue;
    if (host_mode && (n == 0 || (n < 0 && errno != EAGAIN))) {
      channel_closed();
      return;
    }
    if (n <= 0) break; /* nothing more now; 0 is a port without a host */
    const uint8_t *end = input + recent + n;
    parse(input, input + recent, end);
    memmove(input, end - recent, recent);
  }
  channel_flush();
  resume_output();
}

void channel_open(int fd) {
  channel.fd = fd;
  channel.ready = channel_ready;
  in_sync = synced = false;
  frame_size = recent = 0;
  /* Edge-triggered: a port without a host is readable for ever. */
  loop_add(&channel, EPOLLIN | EPOLLOUT | EPOLLET);
}

void channel_closed(void) {
  loop_remove(&channel);
  close(channel.fd);
  channel.fd = -1;
  frame_size = recent = 0;
  in_sync = synced = false;
  forget_streams();
  buffer_clear(&output);
}
