/* What a request wants to have run: its arguments, environment, user and folder. */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ARGS 65536

static char *variable(const char *name, const char *value) {
  size_t size = strlen(name) + strlen(value) + 2;
  char *entry = malloc(size);
  if (!entry) fatal("out of memory for an environment");
  snprintf(entry, size, "%s=%s", name, value);
  return entry;
}

/* What every process gets, then what the image says, then what the request adds: the later one counts. */
char **command_environment(json_t *extra, const struct account *account) {
  json_t *image = defaults_env(), *value;
  size_t at = 0;
  char **env = calloc(json_object_size(image) + json_object_size(extra) + 8, sizeof *env);
  const char *plain[][2] = {
      {"PATH", defaults_path()}, {"HOME", account->home}, {"USER", account->name}, {"LOGNAME", account->name},
      {"LANG", "C.UTF-8"}, {"TERM", "dumb"},
  };
  const char *name;
  if (!env) fatal("out of memory for an environment");
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    if (!json_object_get(image, plain[i][0]) && !json_object_get(extra, plain[i][0])) env[at++] = variable(plain[i][0], plain[i][1]);
  json_object_foreach(image, name, value)
    if (!json_object_get(extra, name)) env[at++] = variable(name, json_string_value(value));
  json_object_foreach(extra, name, value) env[at++] = variable(name, json_string_value(value));
  return env;
}

void free_strings(char **strings) {
  for (char **s = strings; strings && *s; s++) free(*s);
  free(strings);
}

bool all_strings(json_t *json) {
  const char *name;
  json_t *value;
  size_t i;
  json_object_foreach(json, name, value) if (!json_is_string(value)) return false;
  json_array_foreach(json, i, value) if (!json_is_string(value)) return false;
  return true;
}

/* "name", "uid", "name:group" or "uid:gid", as images name their user. A number need not have an account: it gets the root
 * group then, as everywhere where images run. Without a wish the image's user, or root. */
bool command_user(const char *wanted, struct command *c, char *why, size_t size) {
  char user[128];
  const char *group = wanted ? strchr(wanted, ':') : NULL;
  char *rest;
  if (!wanted) wanted = "root";
  snprintf(user, sizeof user, "%.*s", group ? (int)(group - wanted) : (int)strlen(wanted), wanted);
  bool root = !strcmp(user, "root") || !strcmp(user, "0");
  c->account = (struct account){.name = "root", .home = "/root"};
  c->spawn.drop_user = !root || group;
  if (!c->spawn.drop_user) return true;
  if (!root && !find_account(user, &c->account)) {
    unsigned long number = strtoul(user, &rest, 10);
    if (*user < '0' || *user > '9' || *rest || number >= UINT32_MAX) {
      snprintf(why, size, "user '%.100s' is not in the guest's /etc/passwd", user);
      return false;
    }
    c->account = (struct account){.uid = (uid_t)number, .home = "/"};
    snprintf(c->account.name, sizeof c->account.name, "%lu", number);
  }
  c->spawn.uid = c->account.uid, c->spawn.gid = c->account.gid;
  c->spawn.groups = c->groups, c->spawn.group_count = group ? 1 : find_groups(&c->account, c->groups, 64);
  if (group && !find_group(group + 1, &c->spawn.gid)) {
    snprintf(why, size, "group '%.100s' is not in the guest's /etc/group", group + 1);
    return false;
  }
  if (group) c->groups[0] = c->spawn.gid;
  return true;
}

bool command_prepare(struct command *c, struct stream *s, json_t *request) {
  json_t *args = json_object_get(request, "args"), *extra = json_object_get(request, "env");
  const char *cwd = json_string_value(json_object_get(request, "cwd"));
  const char *user = json_string_value(json_object_get(request, "user"));
  size_t count = json_array_size(args);
  char why[200];
  memset(c, 0, sizeof *c);
  if (count < 1 || count > MAX_ARGS || !all_strings(args) || (extra && !json_is_object(extra)) || !all_strings(extra)) {
    stream_fail(s, "invalid_argument", "args must be 1 to %d strings, and env strings", MAX_ARGS);
    return false;
  }
  if (cgroup_user_frozen()) {
    stream_fail(s, "failed_precondition", "the guest is frozen; thaw it before a command is started");
    return false;
  }
  c->spawn = (struct spawn){.keep_fd = -1, .cgroup_fd = cgroup_user_fd, .fds = {-1, -1, -1}};
  if (!command_user(user ? user : defaults_user(), c, why, sizeof why)) {
    stream_fail(s, "not_found", "%s", why);
    return false;
  }
  c->argv = calloc(count + 1, sizeof *c->argv);
  if (!c->argv) fatal("out of memory for a command");
  for (size_t i = 0; i < count; i++) c->argv[i] = strdup(json_string_value(json_array_get(args, i)));
  c->env = command_environment(extra, &c->account);
  c->spawn.argv = c->argv, c->spawn.env = c->env;
  /* Without a wish the image's folder or the home, if there is one; a wish has to be met. */
  if (!cwd) cwd = defaults_folder();
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
