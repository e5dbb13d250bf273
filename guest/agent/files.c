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
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_PATH 4096
#define MAX_DEPTH 1024
#define SOON 64 /* so many entries are listed at once; more are by a child */
#define METADATA_PREFIX "user.e2b."

/* A transfer in one direction. */
struct transfer {
  struct transfer *next; /* of those that are read */
  int fd;
  struct stream *stream;
  int64_t size, left; /* left to be read */
  char path[MAX_PATH], temporary[MAX_PATH + 32];
  int mode;
  bool made; /* by us, and of no use before its end */
  bool has_owner;
  uid_t uid;
  gid_t gid;
  json_t *metadata;
};

static struct transfer *readers;

static void transfer_free(struct transfer *t) {
  for (struct transfer **at = &readers; *at; at = &(*at)->next)
    if (*at == t) {
      *at = t->next;
      break;
    }
  if (t->fd >= 0) close(t->fd);
  if (t->temporary[0]) unlink(t->temporary);
  if (t->made) unlink(t->path);
  json_decref(t->metadata);
  free(t);
}

static void transfer_cancel(struct stream *s) { transfer_free(s->state); }

static void fail_path(struct stream *s, int error, const char *verb, const char *path) {
  char what[400];
  snprintf(what, sizeof what, "cannot %s '%.300s'", verb, path);
  stream_fail_errno(s, error, what);
}

static void pump_read(struct stream *s) {
  struct transfer *t = s->state;
  static uint8_t data[MAX_PAYLOAD];
  while (s->send_credit[CH_OUT] > 0 && !channel_crowded()) {
    size_t room = (int64_t)sizeof data > s->send_credit[CH_OUT] ? (size_t)s->send_credit[CH_OUT] : sizeof data;
    if ((int64_t)room > t->left) room = (size_t)t->left;
    ssize_t n = room ? read(t->fd, data, room) : 0;
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
    t->left -= n;
    s->send_credit[CH_OUT] -= n;
    send_frame(s->id, F_DATA, CH_OUT, data, (size_t)n);
  }
}

static const struct stream_ops read_ops = {.credit = pump_read, .cancel = transfer_cancel};

void files_resume_output(void) {
  if (channel_crowded()) return;
  for (struct transfer *t = readers, *next; t; t = next) {
    next = t->next;
    pump_read(t->stream);
  }
}

static void start_read(struct stream *s, const char *path, json_t *request) {
  json_int_t offset = json_integer_value(json_object_get(request, "offset"));
  json_t *length = json_object_get(request, "length");
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
  if (offset < 0 || lseek(fd, offset, SEEK_SET) < 0) {
    close(fd);
    fail_path(s, EINVAL, "read from so far in", path);
    return;
  }
  struct transfer *t = calloc(1, sizeof *t);
  if (!t) fatal("out of memory for a transfer");
  t->fd = fd;
  t->left = json_is_integer(length) ? json_integer_value(length) : INT64_MAX;
  if (t->left < 0) t->left = 0;
  snprintf(t->path, sizeof t->path, "%s", path);
  t->stream = s;
  t->next = readers;
  readers = t;
  s->state = t;
  s->ops = &read_ops;
  pump_read(s);
}

/* Who owns what is made; none: whoever the agent is. */
struct owner {
  bool known;
  uid_t uid;
  gid_t gid;
};

static bool make_folder(const char *path, const struct owner *owner) {
  if (mkdir(path, 0755)) return false;
  if (owner->known && chown(path, owner->uid, owner->gid)) note("own %s: %s", path, strerror(errno));
  return true;
}

/* `made` tells whether the last one is new. */
static bool make_parents(const char *path, bool whole, const struct owner *owner, bool *made) {
  char partial[MAX_PATH];
  *made = false;
  snprintf(partial, sizeof partial, "%s", path);
  for (char *slash = strchr(partial + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (!make_folder(partial, owner) && errno != EEXIST) return false;
    *slash = '/';
  }
  struct stat st;
  if (!whole) return true;
  if (make_folder(partial, owner)) {
    *made = true;
    return true;
  }
  if (errno != EEXIST) return false;
  if (!stat(partial, &st) && S_ISDIR(st.st_mode)) return true;
  errno = EEXIST;
  return false;
}

static bool find_owner(struct stream *s, json_t *request, struct owner *owner) {
  const char *user = json_string_value(json_object_get(request, "user"));
  struct account account;
  *owner = (struct owner){0};
  if (!user) return true;
  if (!find_account(user, &account)) {
    stream_fail(s, "not_found", "user '%.100s' is not in the guest's /etc/passwd", user);
    return false;
  }
  *owner = (struct owner){.known = true, .uid = account.uid, .gid = account.gid};
  return true;
}

/* What the request says about a file replaces all that was said before. */
static bool set_metadata(int fd, json_t *metadata) {
  static char list[65536];
  char name[300];
  ssize_t size = flistxattr(fd, list, sizeof list);
  for (char *old = list; size > 0 && old < list + size; old += strlen(old) + 1)
    if (!strncmp(old, METADATA_PREFIX, strlen(METADATA_PREFIX))) fremovexattr(fd, old);
  const char *key;
  json_t *value;
  json_object_foreach(metadata, key, value) {
    snprintf(name, sizeof name, METADATA_PREFIX "%s", key);
    if (!json_is_string(value) || !fsetxattr(fd, name, json_string_value(value), json_string_length(value), 0)) continue;
    struct statvfs disk;
    /* The kernel's word for "no room" is the same, whether the disk is full or what a file may have beside its content. */
    if (errno == ENOSPC && !fstatvfs(fd, &disk) && disk.f_bavail) errno = E2BIG;
    return false;
  }
  return true;
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
              (!t->metadata || set_metadata(t->fd, t->metadata)) &&
              (!t->temporary[0] || !rename(t->temporary, t->path));
  int error = errno;
  json_int_t size = t->size;
  char path[MAX_PATH];
  memcpy(path, t->path, sizeof path);
  if (done) t->temporary[0] = 0, t->made = false;
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
  bool in_place = json_is_true(json_object_get(request, "inPlace")), made;
  struct owner owner;
  struct stat st;
  t->fd = -1;
  t->mode = json_is_integer(mode) ? (int)json_integer_value(mode) & 07777 : 0644;
  /* A link is written through, as by any other program. */
  if (!realpath(path, t->path)) snprintf(t->path, sizeof t->path, "%s", path);
  if (!find_owner(s, request, &owner)) {
    transfer_free(t);
    return;
  }
  t->has_owner = owner.known, t->uid = owner.uid, t->gid = owner.gid;
  t->metadata = json_incref(json_object_get(request, "metadata"));
  if (!stat(path, &st)) { /* what is replaced keeps its mode and owner unless asked otherwise */
    if (!S_ISREG(st.st_mode)) {
      transfer_free(t);
      fail_path(s, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "write", path);
      return;
    }
    if (!json_is_integer(mode)) t->mode = (int)st.st_mode & 07777;
    if (!owner.known) t->has_owner = true, t->uid = st.st_uid, t->gid = st.st_gid;
  }
  if (!make_parents(t->path, false, &owner, &made)) {
    /* errno tells */
  } else if (in_place) {
    int flags = O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    t->fd = open(t->path, flags | O_CREAT | O_EXCL, 0644);
    t->made = t->fd >= 0;
    if (t->fd < 0 && errno == EEXIST) t->fd = open(t->path, flags | O_TRUNC);
    /* At once: should the rest not come, it is not left to root. */
    if (t->fd >= 0 && t->has_owner && fchown(t->fd, t->uid, t->gid)) note("own %s: %s", t->path, strerror(errno));
  } else {
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

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* The entries below a folder, each folder's in the order of their names. */
struct listing {
  bool followed;
  json_int_t depth;
  const char *path;
  FILE *out; /* of a child */
  json_t *entries; /* without one */
  size_t count;
};

static bool few(const char *path) {
  DIR *dir = opendir(path);
  int count = 0;
  while (dir && count <= SOON + 2 && readdir(dir)) count++;
  if (dir) closedir(dir);
  return count <= SOON + 2;
}

static void tell(struct listing *l, json_t *entry) {
  if (!l->out) {
    json_array_append_new(l->entries, entry);
    return;
  }
  if (l->count) fputc(',', l->out);
  json_dumpf(entry, l->out, JSON_COMPACT);
  json_decref(entry);
}

/* False: there are too many to be listed at once. */
static bool walk(struct listing *l, const char *path, json_int_t depth) {
  struct dirent **found;
  if (!l->out && !few(path)) return false;
  int count = scandir(path, &found, NULL, by_name);
  bool fits = true;
  for (int i = 0; i < count; i++) {
    char full[MAX_PATH + 256];
    const char *name = found[i]->d_name;
    if (fits && strcmp(name, ".") && strcmp(name, "..")) {
      struct stat st;
      snprintf(full, sizeof full, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", name);
      json_t *entry = strlen(full) >= MAX_PATH ? NULL : l->followed ? entry_followed(full) : entry_of(full);
      if (entry) {
        tell(l, entry);
        fits = ++l->count <= SOON || l->out;
        if (fits && depth > 1 && !lstat(full, &st) && S_ISDIR(st.st_mode)) fits = walk(l, full, depth - 1);
      }
    }
    free(found[i]);
  }
  if (count >= 0) free(found);
  return fits;
}

static void list_all(FILE *out, const void *argument) {
  struct listing l = *(const struct listing *)argument;
  l.out = out;
  work_error(out, 0);
  fputc('[', out);
  walk(&l, l.path, l.depth);
  fputc(']', out);
}

static void do_list(struct stream *s, const char *path, bool followed, json_int_t depth) {
  struct listing l = {.followed = followed, .depth = depth < 1 ? 1 : depth > MAX_DEPTH ? MAX_DEPTH : depth, .path = path};
  DIR *dir = opendir(path);
  if (!dir) {
    fail_path(s, errno, "list", path);
    return;
  }
  closedir(dir);
  l.entries = json_array();
  if (walk(&l, path, l.depth)) {
    stream_end(s, json_pack("{s:o}", "entries", l.entries));
    return;
  }
  json_decref(l.entries);
  l.entries = NULL;
  l.count = 0;
  work_start(s, "list", path, list_all, &l);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static void remove_all(FILE *out, const void *argument) {
  work_error(out, nftw(argument, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) ? errno : 0);
}

static void answer(struct stream *s, int failed, const char *verb, const char *path) {
  if (failed) fail_path(s, errno, verb, path);
  else stream_end(s, json_object());
}

/* A folder with something in it may have much. */
static void do_remove(struct stream *s, const char *path) {
  int failed = remove(path);
  if (failed && (errno == ENOTEMPTY || errno == EEXIST)) work_start(s, "remove", path, remove_all, path);
  else answer(s, failed, "remove", path);
}

static bool is_path(const char *path) { return path && path[0] == '/' && strlen(path) < MAX_PATH; }

static void do_mkdir(struct stream *s, const char *path, json_t *request) {
  struct owner owner;
  bool made;
  if (!find_owner(s, request, &owner)) return;
  if (make_parents(path, true, &owner, &made)) stream_end(s, json_pack("{s:b}", "made", made));
  else fail_path(s, errno, "make the folder", path);
}

static void do_move(struct stream *s, const char *path, const char *to, json_t *request) {
  struct owner owner;
  struct stat st;
  bool made;
  if (lstat(path, &st)) { /* before folders are made for nothing */
    fail_path(s, errno, "move", path);
    return;
  }
  if (find_owner(s, request, &owner)) answer(s, !make_parents(to, false, &owner, &made) || rename(path, to), "move", path);
}

static void do_account(struct stream *s, json_t *request) {
  const char *user = json_string_value(json_object_get(request, "user"));
  struct account account;
  if (!user || !find_account(user, &account)) {
    stream_fail(s, "not_found", "user '%.100s' is not in the guest's /etc/passwd", user ? user : "");
    return;
  }
  stream_end(s, json_pack("{s:s,s:i,s:i,s:s}", "name", account.name, "uid", (int)account.uid, "gid", (int)account.gid,
                          "home", account.home));
}

bool files_start(struct stream *s, const char *op, json_t *request) {
  static const char *known[] = {"read", "write", "stat", "list", "tree", "mkdir", "move", "remove", "watch"};
  bool mine = false;
  if (!strcmp(op, "account")) {
    do_account(s, request);
    return true;
  }
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) mine |= !strcmp(op, known[i]);
  if (!mine) return false;
  bool move = !strcmp(op, "move");
  const char *path = json_string_value(json_object_get(request, move ? "from" : "path"));
  const char *to = json_string_value(json_object_get(request, "to"));
  if (!is_path(path) || (move && !is_path(to))) {
    stream_fail(s, "invalid_argument", "%s needs an absolute path of less than %d bytes", op, MAX_PATH);
    return true;
  }
  entry_names_begin();
  if (!strcmp(op, "read")) start_read(s, path, request);
  else if (!strcmp(op, "write")) start_write(s, path, request);
  else if (!strcmp(op, "list")) do_list(s, path, false, 1);
  else if (!strcmp(op, "tree")) do_list(s, path, true, json_integer_value(json_object_get(request, "depth")));
  else if (!strcmp(op, "mkdir")) do_mkdir(s, path, request);
  else if (!strcmp(op, "watch")) watch_start(s, path, request);
  else if (move) do_move(s, path, to, request);
  else if (!strcmp(op, "remove")) do_remove(s, path);
  else {
    json_t *entry = json_is_true(json_object_get(request, "follow")) ? entry_followed(path) : entry_of(path);
    if (entry) stream_end(s, entry);
    else fail_path(s, errno, "look at", path);
  }
  return true;
}
