/* What a request wants to have run: its arguments, environment, user and folder. */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ARGS 65536

/* The environment: what every process gets, then what the request adds or replaces. */
static char **environment(json_t *extra, const struct account *account) {
  size_t count = json_object_size(extra), at = 0;
  char **env = calloc(count + 8, sizeof *env);
  char text[512];
  const char *defaults[][2] = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"HOME", account->home}, {"USER", account->name}, {"LOGNAME", account->name},
      {"LANG", "C.UTF-8"}, {"TERM", "dumb"},
  };
  if (!env) fatal("out of memory for an environment");
  for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
    if (json_object_get(extra, defaults[i][0])) continue;
    snprintf(text, sizeof text, "%s=%s", defaults[i][0], defaults[i][1]);
    env[at++] = strdup(text);
  }
  const char *name;
  json_t *value;
  json_object_foreach(extra, name, value) {
    size_t size = strlen(name) + json_string_length(value) + 2;
    char *entry = malloc(size);
    if (!entry) fatal("out of memory for an environment");
    snprintf(entry, size, "%s=%s", name, json_string_value(value));
    env[at++] = entry;
  }
  return env;
}

static void free_strings(char **strings) {
  for (char **s = strings; strings && *s; s++) free(*s);
  free(strings);
}

static bool all_strings(json_t *json) {
  const char *name;
  json_t *value;
  size_t i;
  json_object_foreach(json, name, value) if (!json_is_string(value)) return false;
  json_array_foreach(json, i, value) if (!json_is_string(value)) return false;
  return true;
}

bool command_prepare(struct command *c, struct stream *s, json_t *request) {
  json_t *args = json_object_get(request, "args"), *extra = json_object_get(request, "env");
  const char *cwd = json_string_value(json_object_get(request, "cwd"));
  const char *user = json_string_value(json_object_get(request, "user"));
  size_t count = json_array_size(args);
  memset(c, 0, sizeof *c);
  if (count < 1 || count > MAX_ARGS || !all_strings(args) || (extra && !json_is_object(extra)) || !all_strings(extra)) {
    stream_fail(s, "invalid_argument", "args must be 1 to %d strings, and env strings", MAX_ARGS);
    return false;
  }
  if (cgroup_user_frozen()) {
    stream_fail(s, "failed_precondition", "the guest is frozen; thaw it before a command is started");
    return false;
  }
  c->account = (struct account){.name = "root", .home = "/root"};
  c->spawn = (struct spawn){.keep_fd = -1, .cgroup_fd = cgroup_user_fd, .fds = {-1, -1, -1}};
  if (user && strcmp(user, "root") && strcmp(user, "0")) {
    if (!find_account(user, &c->account)) {
      stream_fail(s, "not_found", "user '%.100s' is not in the guest's /etc/passwd", user);
      return false;
    }
    c->spawn.drop_user = true;
    c->spawn.uid = c->account.uid, c->spawn.gid = c->account.gid;
    c->spawn.groups = c->groups, c->spawn.group_count = find_groups(&c->account, c->groups, 64);
  }
  c->argv = calloc(count + 1, sizeof *c->argv);
  if (!c->argv) fatal("out of memory for a command");
  for (size_t i = 0; i < count; i++) c->argv[i] = strdup(json_string_value(json_array_get(args, i)));
  c->env = environment(extra, &c->account);
  c->spawn.argv = c->argv, c->spawn.env = c->env;
  /* Without a wish the home folder, if there is one; a wish has to be met. */
  c->spawn.cwd = cwd ? cwd : !access(c->account.home, X_OK) ? c->account.home : "/";
  return true;
}

void command_fail(struct command *c, struct stream *s, int error, const char *step) {
  char what[300];
  if (!strcmp(step, "program")) snprintf(what, sizeof what, "cannot run '%.200s'", c->argv[0]);
  else if (!strcmp(step, "cwd")) snprintf(what, sizeof what, "cannot enter the folder '%.200s'", c->spawn.cwd);
  else snprintf(what, sizeof what, "cannot start '%.150s' (%s)", c->argv[0], step);
  stream_fail_errno(s, error, what);
}

void command_free(struct command *c) {
  free_strings(c->argv);
  free_strings(c->env);
}
