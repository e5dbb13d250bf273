/* The guest's files: read, write, stat, list, mkdir, move, remove. */

#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PATH 4096
#define MAX_LIST_BYTES (6u << 20) /* of the answer: a host takes 8 MiB */
#define ENTRY_BYTES 160           /* of an entry beside its path, at most */

/* A transfer in one direction. */
struct transfer {
  int fd;
  int64_t size;
  char path[MAX_PATH], temporary[MAX_PATH + 32];
  int mode;
  bool has_owner;
  uid_t uid;
  gid_t gid;
};

static void transfer_free(struct transfer *t) {
  if (t->fd >= 0) close(t->fd);
  if (t->temporary[0]) unlink(t->temporary);
  free(t);
}

static void transfer_cancel(struct stream *s) { transfer_free(s->state); }

static void fail_path(struct stream *s, int error, const char *verb, const char *path) {
  char what[400];
  snprintf(what, sizeof what, "cannot %s '%.300s'", verb, path);
  stream_fail_errno(s, error, what);
}

static json_t *entry(const char *path, const struct stat *st) {
  const char *type = S_ISREG(st->st_mode)   ? "file"
                     : S_ISDIR(st->st_mode) ? "directory"
                     : S_ISLNK(st->st_mode) ? "symlink"
                                            : "other";
  json_t *name = json_string(path);
  if (!name) name = json_string("?"); /* not UTF-8: listed, but it cannot be asked for */
  return json_pack("{s:o,s:s,s:I,s:i,s:i,s:i,s:I}", "path", name, "type", type, "size", (json_int_t)st->st_size,
                   "mode", (int)(st->st_mode & 07777), "uid", (int)st->st_uid, "gid", (int)st->st_gid,
                   "modifiedMillis", (json_int_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000);
}

static void pump_read(struct stream *s) {
  struct transfer *t = s->state;
  static uint8_t data[MAX_PAYLOAD];
  while (s->send_credit[CH_OUT] > 0) {
    size_t room = (int64_t)sizeof data > s->send_credit[CH_OUT] ? (size_t)s->send_credit[CH_OUT] : sizeof data;
    ssize_t n = read(t->fd, data, room);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int error = errno;
      char path[MAX_PATH];
      memcpy(path, t->path, sizeof path);
      transfer_free(t);
      fail_path(s, error, "read", path);
      return;
    }
    if (n == 0) {
      json_int_t size = t->size;
      transfer_free(t);
      stream_end(s, json_pack("{s:I}", "size", size));
      return;
    }
    t->size += n;
    s->send_credit[CH_OUT] -= n;
    send_frame(s->id, F_DATA, CH_OUT, data, (size_t)n);
  }
}

static const struct stream_ops read_ops = {.credit = pump_read, .cancel = transfer_cancel};

static void start_read(struct stream *s, const char *path) {
  struct stat st;
  /* Without waiting: a pipe or a device must not hold up everybody. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 || fstat(fd, &st)) {
    fail_path(s, errno, "read", path);
    if (fd >= 0) close(fd);
    return;
  }
  if (!S_ISREG(st.st_mode)) {
    close(fd);
    fail_path(s, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "read", path);
    return;
  }
  struct transfer *t = calloc(1, sizeof *t);
  if (!t) fatal("out of memory for a transfer");
  t->fd = fd;
  snprintf(t->path, sizeof t->path, "%s", path);
  s->state = t;
  s->ops = &read_ops;
  pump_read(s);
}

static bool make_parents(const char *path, bool whole) {
  char partial[MAX_PATH];
  snprintf(partial, sizeof partial, "%s", path);
  for (char *slash = strchr(partial + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(partial, 0755) && errno != EEXIST) return false;
    *slash = '/';
  }
  struct stat st;
  if (!whole || !mkdir(partial, 0755)) return true;
  if (errno != EEXIST) return false;
  if (!stat(partial, &st) && S_ISDIR(st.st_mode)) return true;
  errno = EEXIST;
  return false;
}

static void write_input(struct stream *s, const uint8_t *data, size_t size) {
  struct transfer *t = s->state;
  size_t done = 0;
  while (done < size) {
    ssize_t n = write(t->fd, data + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      int error = errno;
      char path[MAX_PATH];
      memcpy(path, t->path, sizeof path);
      transfer_free(t);
      fail_path(s, error, "write", path);
      return;
    }
    done += (size_t)n;
  }
  t->size += (int64_t)size;
  stream_consumed(s, size);
}

static void write_end(struct stream *s) {
  struct transfer *t = s->state;
  /* The owner first: to change it takes special bits off the mode. */
  bool done = (!t->has_owner || !fchown(t->fd, t->uid, t->gid)) && !fchmod(t->fd, (mode_t)t->mode) &&
              !rename(t->temporary, t->path);
  int error = errno;
  json_int_t size = t->size;
  char path[MAX_PATH];
  memcpy(path, t->path, sizeof path);
  if (done) t->temporary[0] = 0;
  transfer_free(t);
  if (done) stream_end(s, json_pack("{s:I}", "size", size));
  else fail_path(s, error, "write", path);
}

static const struct stream_ops write_ops = {.input = write_input, .input_end = write_end, .cancel = transfer_cancel};

static void start_write(struct stream *s, const char *path, json_t *request) {
  static unsigned counter;
  struct transfer *t = calloc(1, sizeof *t);
  if (!t) fatal("out of memory for a transfer");
  json_t *mode = json_object_get(request, "mode");
  const char *user = json_string_value(json_object_get(request, "user"));
  struct account account;
  struct stat st;
  t->fd = -1;
  t->mode = json_is_integer(mode) ? (int)json_integer_value(mode) & 07777 : 0644;
  /* A link is written through, as by any other program. */
  if (!realpath(path, t->path)) snprintf(t->path, sizeof t->path, "%s", path);
  if (user) {
    if (!find_account(user, &account)) {
      transfer_free(t);
      stream_fail(s, "not_found", "user '%.100s' is not in the guest's /etc/passwd", user);
      return;
    }
    t->has_owner = true, t->uid = account.uid, t->gid = account.gid;
  }
  if (!stat(path, &st)) { /* what is replaced keeps its mode and owner unless asked otherwise */
    if (!S_ISREG(st.st_mode)) {
      transfer_free(t);
      fail_path(s, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "write", path);
      return;
    }
    if (!json_is_integer(mode)) t->mode = (int)st.st_mode & 07777;
    if (!user) t->has_owner = true, t->uid = st.st_uid, t->gid = st.st_gid;
  }
  if (make_parents(t->path, false)) {
    int folder = (int)(strrchr(t->path, '/') - t->path);
    do { /* another epoch may have left one behind */
      snprintf(t->temporary, sizeof t->temporary, "%.*s/.forkd-%u", folder, t->path, counter++);
      t->fd = open(t->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    } while (t->fd < 0 && errno == EEXIST);
    if (t->fd < 0) t->temporary[0] = 0;
  }
  if (t->fd < 0) {
    int error = errno;
    transfer_free(t);
    fail_path(s, error, "write", path);
    return;
  }
  s->state = t;
  s->ops = &write_ops;
}

static void do_list(struct stream *s, const char *path) {
  DIR *dir = opendir(path);
  if (!dir) {
    fail_path(s, errno, "list", path);
    return;
  }
  json_t *entries = json_array();
  struct dirent *d;
  size_t bytes = 0;
  while ((d = readdir(dir))) {
    char full[MAX_PATH + 256];
    struct stat st;
    if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")) continue;
    snprintf(full, sizeof full, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", d->d_name);
    if (lstat(full, &st)) continue;
    json_array_append_new(entries, entry(full, &st));
    bytes += strlen(full) * 2 + ENTRY_BYTES;
    if (bytes <= MAX_LIST_BYTES) continue;
    stream_fail(s, "resource_exhausted", "'%.300s' has more than %zu entries, too many for one list; use exec", path,
                json_array_size(entries));
    json_decref(entries);
    closedir(dir);
    return;
  }
  closedir(dir);
  stream_end(s, json_pack("{s:o}", "entries", entries));
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static void answer(struct stream *s, int failed, const char *verb, const char *path) {
  if (failed) fail_path(s, errno, verb, path);
  else stream_end(s, json_object());
}

static bool is_path(const char *path) { return path && path[0] == '/' && strlen(path) < MAX_PATH; }

bool files_start(struct stream *s, const char *op, json_t *request) {
  static const char *known[] = {"read", "write", "stat", "list", "mkdir", "move", "remove"};
  bool mine = false;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) mine |= !strcmp(op, known[i]);
  if (!mine) return false;
  bool move = !strcmp(op, "move");
  const char *path = json_string_value(json_object_get(request, move ? "from" : "path"));
  const char *to = json_string_value(json_object_get(request, "to"));
  if (!is_path(path) || (move && !is_path(to))) {
    stream_fail(s, "invalid_argument", "%s needs an absolute path of less than %d bytes", op, MAX_PATH);
    return true;
  }
  if (!strcmp(op, "read")) start_read(s, path);
  else if (!strcmp(op, "write")) start_write(s, path, request);
  else if (!strcmp(op, "list")) do_list(s, path);
  else if (!strcmp(op, "mkdir")) answer(s, !make_parents(path, true), "make the folder", path);
  else if (move) answer(s, !make_parents(to, false) || rename(path, to), "move", path);
  else if (!strcmp(op, "remove")) answer(s, nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), "remove", path);
  else {
    struct stat st;
    if (lstat(path, &st)) fail_path(s, errno, "look at", path);
    else stream_end(s, entry(path, &st));
  }
  return true;
}
