/* Watching folders. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FOLDERS 8192
#define MAX_UNSENT (4u << 20)
#define EVENTS (IN_CREATE | IN_MODIFY | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

struct watch {
  struct source source; /* first: a source is cast back to its watch */
  struct stream *stream;
  char path[PATH_MAX];
  bool recursive, entries;
  struct folder { int wd; char *name; } *folders; /* names below the path; the first is the path itself */
  size_t count;
  struct buffer lines;
};

static void watch_free(struct watch *w) {
  loop_remove(&w->source);
  close(w->source.fd);
  for (size_t i = 0; i < w->count; i++) free(w->folders[i].name);
  free(w->folders);
  buffer_free(&w->lines);
  free(w);
}

static void watch_cancel(struct stream *s) { watch_free(s->state); }

static void fail(struct watch *w, const char *code, const char *why) {
  struct stream *s = w->stream;
  char path[300];
  snprintf(path, sizeof path, "%.299s", w->path);
  watch_free(w);
  stream_fail(s, code, "watching '%s': %s", path, why);
}

static void pump(struct watch *w) {
  while (buffer_size(&w->lines) && w->stream->send_credit[CH_OUT] > 0) {
    size_t piece = buffer_size(&w->lines);
    if (piece > MAX_PAYLOAD) piece = MAX_PAYLOAD;
    if ((int64_t)piece > w->stream->send_credit[CH_OUT]) piece = (size_t)w->stream->send_credit[CH_OUT];
    w->stream->send_credit[CH_OUT] -= (int64_t)piece;
    send_frame(w->stream->id, F_DATA, CH_OUT, buffer_at(&w->lines), piece);
    buffer_consume(&w->lines, piece);
  }
}

static void watch_credit(struct stream *s) { pump(s->state); }

static const struct stream_ops watch_ops = {.credit = watch_credit, .cancel = watch_cancel};

static void report(struct watch *w, const char *kind, const char *name) {
  json_t *line = json_pack("{s:s,s:o}", "kind", kind, "name", json_text(name));
  if (w->entries && strcmp(kind, "removed") && strcmp(kind, "renamed")) {
    char full[PATH_MAX * 2];
    snprintf(full, sizeof full, "%s/%s", w->path, name);
    json_t *entry = entry_followed(full);
    if (entry) json_object_set_new(line, "entry", entry);
  }
  char *text = json_dumps(line, JSON_COMPACT);
  json_decref(line);
  if (!text) fatal("a change that cannot be written as JSON");
  buffer_add(&w->lines, text, strlen(text));
  buffer_add(&w->lines, "\n", 1);
  free(text);
}

/* Watches a folder, and with `recursive` all below it; what is found in a new one is reported.
 * False with errno when it is too much, or the first cannot be watched. */
static bool add(struct watch *w, const char *name, bool found) {
  char full[PATH_MAX * 2];
  snprintf(full, sizeof full, "%s%s%s", w->path, *name ? "/" : "", name);
  int wd = inotify_add_watch(w->source.fd, full, EVENTS | (*name ? IN_DONT_FOLLOW : 0));
  if (wd < 0) return *name && errno != ENOSPC; /* one that is gone again is none */
  for (size_t i = 0; i < w->count; i++)
    if (w->folders[i].wd == wd) { /* it was moved here */
      free(w->folders[i].name);
      w->folders[i].name = strdup(name);
      wd = -1;
      break;
    }
  if (wd >= 0) {
    if (w->count == MAX_FOLDERS) {
      errno = ENOSPC;
      return false;
    }
    w->folders = realloc(w->folders, (w->count + 1) * sizeof *w->folders);
    if (!w->folders) fatal("out of memory for watches");
    w->folders[w->count++] = (struct folder){.wd = wd, .name = strdup(name)};
  }
  if (!w->recursive && !found) return true;
  DIR *dir = opendir(full);
  struct dirent *d;
  bool done = true;
  while (done && dir && (d = readdir(dir))) {
    if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")) continue;
    char below[PATH_MAX * 2];
    struct stat st;
    snprintf(below, sizeof below, "%s/%s", full, d->d_name);
    if (!found && d->d_type != DT_DIR && d->d_type != DT_UNKNOWN) continue;
    if (lstat(below, &st)) continue;
    snprintf(below, sizeof below, "%s%s%s", name, *name ? "/" : "", d->d_name);
    if (strlen(below) >= PATH_MAX) continue;
    if (found) report(w, "created", below);
    if (buffer_size(&w->lines) > MAX_UNSENT) {
      errno = ENOSPC;
      done = false;
      break;
    }
    if (w->recursive && S_ISDIR(st.st_mode)) done = add(w, below, found);
  }
  if (dir) closedir(dir);
  return done;
}

/* A folder that went elsewhere takes the watches of all below it along. */
static void forget_below(struct watch *w, const char *name) {
  size_t length = strlen(name);
  for (size_t i = w->count; i-- > 1;) {
    const char *other = w->folders[i].name;
    if (strncmp(other, name, length) || (other[length] && other[length] != '/')) continue;
    inotify_rm_watch(w->source.fd, w->folders[i].wd);
    free(w->folders[i].name);
    w->folders[i] = w->folders[--w->count];
  }
}

/* False when the watch is over. */
static bool take(struct watch *w, const struct inotify_event *event) {
  if (event->mask & IN_Q_OVERFLOW) {
    fail(w, "resource_exhausted", "more changed than could be told");
    return false;
  }
  size_t at = 0;
  while (at < w->count && w->folders[at].wd != event->wd) at++;
  if (at == w->count) return true;
  if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) {
    if (at == 0) {
      fail(w, "not_found", "the folder is gone");
      return false;
    }
    if (event->mask & IN_MOVE_SELF) return true; /* its folder has told more */
    free(w->folders[at].name);
    w->folders[at] = w->folders[--w->count];
    return true;
  }
  if (!event->len) return true; /* about the folder itself, which its own folder tells */
  char name[PATH_MAX * 2];
  snprintf(name, sizeof name, "%s%s%s", w->folders[at].name, *w->folders[at].name ? "/" : "", event->name);
  if (strlen(name) >= PATH_MAX) return true;
  bool folder = event->mask & IN_ISDIR;
  if (event->mask & (IN_CREATE | IN_MOVED_TO)) {
    report(w, "created", name);
    if (folder && w->recursive && !add(w, name, true)) {
      fail(w, "resource_exhausted", "there is more in a new folder than can be watched or told");
      return false;
    }
  } else if (event->mask & IN_MODIFY) {
    report(w, "written", name);
  } else if (event->mask & IN_ATTRIB) {
    report(w, "modeChanged", name);
  } else {
    report(w, event->mask & IN_DELETE ? "removed" : "renamed", name);
    if (folder) forget_below(w, name);
  }
  return true;
}

static void watch_ready(struct source *source, uint32_t events) {
  struct watch *w = (struct watch *)source;
  static char data[65536] __attribute__((aligned(__alignof__(struct inotify_event))));
  (void)events;
  for (;;) {
    ssize_t n = read(source->fd, data, sizeof data);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    for (char *at = data; at < data + n;) {
      const struct inotify_event *event = (const struct inotify_event *)at;
      at += sizeof *event + event->len;
      if (!take(w, event)) return;
    }
    if (buffer_size(&w->lines) > MAX_UNSENT) {
      fail(w, "resource_exhausted", "more changed than the host has read");
      return;
    }
    pump(w);
  }
  pump(w);
}

void watch_start(struct stream *s, const char *path, json_t *request) {
  struct stat st;
  if (stat(path, &st)) {
    stream_fail_errno(s, errno, "cannot watch the folder");
    return;
  }
  if (!S_ISDIR(st.st_mode)) {
    stream_fail(s, "failed_precondition", "cannot watch '%.300s': it is no folder", path);
    return;
  }
  struct watch *w = calloc(1, sizeof *w);
  if (!w) fatal("out of memory for a watch");
  w->source.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (w->source.fd < 0) {
    free(w);
    stream_fail_errno(s, errno, "cannot watch");
    return;
  }
  snprintf(w->path, sizeof w->path, "%s", strcmp(path, "/") ? path : "");
  w->recursive = json_is_true(json_object_get(request, "recursive"));
  w->entries = json_is_true(json_object_get(request, "entries"));
  w->stream = s;
  w->source.ready = watch_ready;
  loop_add(&w->source, EPOLLIN | EPOLLET);
  s->state = w;
  s->ops = &watch_ops;
  if (!add(w, "", false)) {
    fail(w, errno == ENOSPC ? "resource_exhausted" : "not_found", strerror(errno));
    return;
  }
  send_json(s->id, F_NOTE, json_object());
}
