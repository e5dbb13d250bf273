#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

void buffer_add(struct buffer *b, const void *data, size_t size) {
  if (b->end + size > b->capacity) {
    size_t used = buffer_size(b);
    if (b->start > 0 && used + size <= b->capacity) {
      memmove(b->data, b->data + b->start, used);
    } else {
      size_t capacity = b->capacity ? b->capacity : 4096;
      while (capacity < used + size) capacity *= 2;
      uint8_t *grown = malloc(capacity);
      if (!grown) fatal("out of memory for %zu bytes", capacity);
      if (used) memcpy(grown, b->data + b->start, used);
      free(b->data);
      b->data = grown;
      b->capacity = capacity;
    }
    b->start = 0;
    b->end = used;
  }
  if (size) memcpy(b->data + b->end, data, size);
  b->end += size;
}

void buffer_consume(struct buffer *b, size_t size) {
  b->start += size;
  if (b->start == b->end) buffer_clear(b);
}

void buffer_clear(struct buffer *b) {
  if (b->capacity > 65536) {
    buffer_free(b);
    return;
  }
  b->start = b->end = 0;
}

void buffer_free(struct buffer *b) {
  free(b->data);
  memset(b, 0, sizeof *b);
}

int64_t now_millis(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void note(const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text - 1, format, args);
  va_end(args);
  if (n > (int)sizeof text - 2) n = sizeof text - 2;
  text[n++] = '\n';
  if (write(2, "forkd-agent: ", 13) < 0 || write(2, text, (size_t)n) < 0) return;
}

/* PID 1 must not exit: the machine is switched off instead, so that the host sees it end. */
void fatal(const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  note("fatal: %s", text);
  if (!host_mode) {
    sync();
    sleep(1);
    reboot(RB_AUTOBOOT);
  }
  _exit(70);
}

bool write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  size_t size = strlen(text);
  bool done = write(fd, text, size) == (ssize_t)size;
  int error = errno;
  close(fd);
  errno = error;
  return done;
}

ssize_t read_file(const char *path, char *into, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, into, size - 1);
  close(fd);
  if (n >= 0) into[n] = 0;
  return n;
}

void to_hex(const uint8_t *data, size_t size, char *hex) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < size; i++) {
    hex[2 * i] = digits[data[i] >> 4];
    hex[2 * i + 1] = digits[data[i] & 15];
  }
  hex[2 * size] = 0;
}

static int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool from_hex(const char *hex, uint8_t *data, size_t size) {
  if (!hex || strlen(hex) != 2 * size) return false;
  for (size_t i = 0; i < size; i++) {
    int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    data[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

/* The account database is read here: a static program has no libc plugins to do it. */
static bool matches(const char *wanted, const char *name, const char *id) {
  return !strcmp(wanted, name) || !strcmp(wanted, id);
}

bool find_account(const char *wanted, struct account *account) {
  char line[1024];
  FILE *file = fopen("/etc/passwd", "re");
  bool found = false;
  while (file && !found && fgets(line, sizeof line, file)) {
    char *rest = line, *name = strsep(&rest, ":");
    strsep(&rest, ":");
    char *uid = strsep(&rest, ":"), *gid = strsep(&rest, ":");
    strsep(&rest, ":");
    char *home = strsep(&rest, ":");
    if (!name || !uid || !gid || !home || !matches(wanted, name, uid)) continue;
    account->uid = (uid_t)strtoul(uid, NULL, 10);
    account->gid = (gid_t)strtoul(gid, NULL, 10);
    snprintf(account->name, sizeof account->name, "%s", name);
    snprintf(account->home, sizeof account->home, "%s", *home ? home : "/");
    found = true;
  }
  if (file) fclose(file);
  return found;
}

int unread(int fd) {
  int bytes = 0;
  return fd >= 0 && !ioctl(fd, FIONREAD, &bytes) ? bytes : 0;
}

void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static bool lists(char *members, const char *name) {
  char *member;
  while ((member = strsep(&members, ",\n")))
    if (!strcmp(member, name)) return true;
  return false;
}

size_t find_groups(const struct account *account, gid_t *groups, size_t max) {
  char line[4096];
  size_t count = 0;
  if (max) groups[count++] = account->gid;
  FILE *file = fopen("/etc/group", "re");
  while (file && count < max && fgets(line, sizeof line, file)) {
    char *rest = line;
    strsep(&rest, ":");
    strsep(&rest, ":");
    char *gid = strsep(&rest, ":");
    if (gid && rest && lists(rest, account->name)) groups[count++] = (gid_t)strtoul(gid, NULL, 10);
  }
  if (file) fclose(file);
  return count;
}

/* Length of the UTF-8 character that begins here; 0 when none does. */
static size_t character(const unsigned char *at) {
  size_t length = *at < 0x80 ? 1 : *at >= 0xc2 && *at < 0xe0 ? 2 : (*at & 0xf0) == 0xe0 ? 3 : *at >= 0xf0 && *at < 0xf5 ? 4 : 0;
  for (size_t i = 1; i < length; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  if (*at == 0xe0 && at[1] < 0xa0) return 0;
  if (*at == 0xed && at[1] > 0x9f) return 0; /* half a pair of UTF-16 */
  if (*at == 0xf0 && at[1] < 0x90) return 0;
  if (*at == 0xf4 && at[1] > 0x8f) return 0;
  return length;
}

json_t *json_text(const char *text) {
  json_t *json = json_string(text);
  if (json) return json;
  struct buffer whole = {0};
  for (const unsigned char *at = (const unsigned char *)text; *at;) {
    size_t length = character(at);
    if (length) buffer_add(&whole, at, length);
    else buffer_add(&whole, "\xef\xbf\xbd", 3);
    at += length ? length : 1;
  }
  json = json_stringn((const char *)buffer_at(&whole), buffer_size(&whole));
  buffer_free(&whole);
  return json ? json : json_string("?");
}

bool find_group(const char *wanted, gid_t *gid) {
  char line[4096], *rest;
  unsigned long number = strtoul(wanted, &rest, 10);
  bool found = *wanted >= '0' && *wanted <= '9' && !*rest && number < UINT32_MAX;
  if (found) *gid = (gid_t)number;
  FILE *file = found ? NULL : fopen("/etc/group", "re");
  while (file && !found && fgets(line, sizeof line, file)) {
    char *at = line, *name = strsep(&at, ":");
    strsep(&at, ":");
    char *id = strsep(&at, ":");
    if (!id || strcmp(wanted, name)) continue;
    *gid = (gid_t)strtoul(id, NULL, 10);
    found = true;
  }
  if (file) fclose(file);
  return found;
}
