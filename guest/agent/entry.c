/* What is at a path, as hosts are told. */
#include "agent.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NAMES 64
#define METADATA_PREFIX "user.e2b."
#define METADATA_BYTES 65536

/* The account files are read once for an answer, not for each of its thousand entries. */
struct names {
  const char *file;
  int count;
  struct { unsigned id; char name[64]; } known[NAMES];
};
static struct names users = {.file = "/etc/passwd"}, groups = {.file = "/etc/group"};

void entry_names_begin(void) { users.count = groups.count = 0; }

static const char *name_of(struct names *names, unsigned id) {
  static struct { unsigned id; char name[64]; } spare;
  for (int i = 0; i < names->count; i++)
    if (names->known[i].id == id) return names->known[i].name;
  char line[4096], *into = names->count < NAMES ? names->known[names->count].name : spare.name;
  snprintf(into, sizeof spare.name, "%u", id);
  FILE *file = fopen(names->file, "re");
  while (file && fgets(line, sizeof line, file)) {
    char *rest = line, *name = strsep(&rest, ":");
    strsep(&rest, ":");
    char *number = strsep(&rest, ":");
    if (!number || strtoul(number, NULL, 10) != id) continue;
    snprintf(into, sizeof spare.name, "%s", name);
    break;
  }
  if (file) fclose(file);
  if (names->count < NAMES) names->known[names->count++].id = id;
  return into;
}

static json_t *entry(const char *path, const struct stat *st) {
  const char *type = S_ISREG(st->st_mode)   ? "file"
                     : S_ISDIR(st->st_mode) ? "directory"
                     : S_ISLNK(st->st_mode) ? "symlink"
                                            : "other";
  return json_pack("{s:o,s:s,s:I,s:i,s:i,s:i,s:I,s:o,s:o}", "path", json_text(path), "type", type, "size",
                   (json_int_t)st->st_size, "mode", (int)(st->st_mode & 07777), "uid", (int)st->st_uid, "gid",
                   (int)st->st_gid, "modifiedMillis",
                   (json_int_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000, "owner",
                   json_text(name_of(&users, st->st_uid)), "group", json_text(name_of(&groups, st->st_gid)));
}

json_t *entry_of(const char *path) {
  struct stat st;
  return lstat(path, &st) ? NULL : entry(path, &st);
}

static void add_metadata(json_t *into, const char *path) {
  static char list[METADATA_BYTES], value[METADATA_BYTES];
  ssize_t size = listxattr(path, list, sizeof list);
  json_t *metadata = NULL;
  for (char *name = list; size > 0 && name < list + size; name += strlen(name) + 1) {
    if (strncmp(name, METADATA_PREFIX, strlen(METADATA_PREFIX))) continue;
    ssize_t length = getxattr(path, name, value, sizeof value);
    json_t *word = length >= 0 ? json_stringn(value, (size_t)length) : NULL;
    if (!word) continue;
    if (!metadata) metadata = json_object();
    if (json_object_set_new(metadata, name + strlen(METADATA_PREFIX), word)) continue;
  }
  if (metadata) json_object_set_new(into, "metadata", metadata);
}

json_t *entry_followed(const char *path) {
  struct stat link, st;
  char target[PATH_MAX];
  if (lstat(path, &link)) return NULL;
  if (!S_ISLNK(link.st_mode)) {
    json_t *json = entry(path, &link);
    if (S_ISREG(link.st_mode) || S_ISDIR(link.st_mode)) add_metadata(json, path);
    return json;
  }
  bool leads = realpath(path, target) && !stat(path, &st);
  if (!leads) {
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
  }
  json_t *json = entry(path, leads ? &st : &link);
  json_object_set_new(json, "target", json_text(target));
  if (leads && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) add_metadata(json, path);
  return json;
}
