/* What an image says its processes run with: environment, user and folder. It is a file of the root disk, so it goes wherever
 * the disk goes; it is read once, at boot, so that no command has to wait for it. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULTS_PATH "/etc/forkd/defaults.json"
#define MAX_DEFAULTS 262144
#define PLAIN_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static json_t *defaults;

/* One that cannot be understood must not keep the guest from booting: it is said on the console. */
void defaults_load(void) {
  static char text[MAX_DEFAULTS];
  const char *path = host_mode ? getenv("FORKD_DEFAULTS") : DEFAULTS_PATH;
  if (!path || access(path, F_OK)) return;
  json_error_t error;
  ssize_t size = read_file(path, text, sizeof text);
  if (size < 0 || size >= MAX_DEFAULTS - 1) {
    note("%s is not used: it cannot be read, or is longer than %d bytes", path, MAX_DEFAULTS - 2);
    return;
  }
  json_t *found = json_loads(text, 0, &error);
  json_t *env = json_object_get(found, "env");
  if (!json_is_object(found) || (env && !json_is_object(env)) || !all_strings(env)) {
    note("%s is not used: %s", path, found ? "it is no object, or its env is no object of strings" : error.text);
    json_decref(found);
    return;
  }
  defaults = found;
}

json_t *defaults_env(void) { return json_object_get(defaults, "env"); }
const char *defaults_user(void) { return json_string_value(json_object_get(defaults, "user")); }

const char *defaults_folder(void) {
  const char *folder = json_string_value(json_object_get(defaults, "cwd"));
  return folder && !access(folder, X_OK) ? folder : NULL;
}

const char *defaults_path(void) {
  const char *path = json_string_value(json_object_get(defaults_env(), "PATH"));
  return path ? path : PLAIN_PATH;
}
