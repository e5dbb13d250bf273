/* The guest's cgroups: forkd/user for what the user starts, forkd/eval for the interpreter. */
#include "agent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup/forkd"
#define FREEZE_TIMEOUT_MILLIS 2000

int cgroup_user_fd = -1, cgroup_eval_fd = -1;
static int user_pids = -1, eval_pids = -1;
static struct group {
  const char *name;
  int freeze, events;
  bool frozen;
} groups[2] = {{.name = "user", .freeze = -1}, {.name = "eval", .freeze = -1}};

void cgroup_init(void) {
  if (!write_file("/sys/fs/cgroup/cgroup.subtree_control", "+pids") || mkdir(ROOT, 0755) ||
      !write_file(ROOT "/cgroup.subtree_control", "+pids") || mkdir(ROOT "/user", 0755) || mkdir(ROOT "/eval", 0755))
    fatal("the guest kernel has no cgroup v2 with a pids controller");
  cgroup_user_fd = open(ROOT "/user", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  cgroup_eval_fd = open(ROOT "/eval", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  user_pids = open(ROOT "/user/pids.current", O_RDONLY | O_CLOEXEC);
  eval_pids = open(ROOT "/eval/pids.current", O_RDONLY | O_CLOEXEC);
  if (cgroup_user_fd < 0 || cgroup_eval_fd < 0 || user_pids < 0 || eval_pids < 0) fatal("the guest's cgroups cannot be opened");
  for (int i = 0; i < 2; i++) {
    char path[100];
    snprintf(path, sizeof path, ROOT "/%s/cgroup.freeze", groups[i].name);
    groups[i].freeze = open(path, O_WRONLY | O_CLOEXEC);
    snprintf(path, sizeof path, ROOT "/%s/cgroup.events", groups[i].name);
    groups[i].events = open(path, O_RDONLY | O_CLOEXEC);
    if (groups[i].freeze < 0 || groups[i].events < 0) fatal("the guest's cgroups cannot be frozen");
  }
}

static int read_number(int fd) {
  char text[32];
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  return atoi(text);
}

int cgroup_user_processes(void) { return user_pids < 0 ? exec_running() + process_running() : read_number(user_pids); }

/* The template's services: what ran when it was settled. */
#define MAX_SERVICES 64
static struct service {
  pid_t pid;
  unsigned long long started;
} services[MAX_SERVICES];
static int service_count, service_tasks;

/* When a process began, in clock ticks since boot: tells it from another with its number. */
static unsigned long long start_of(pid_t pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  if (read_file(path, text, sizeof text) <= 0) return 0;
  char *at = strrchr(text, ')'); /* the name before it may hold anything */
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at ? strtoull(at, NULL, 10) : 0;
}

static int list_processes(pid_t *pids, int max) {
  char text[16384];
  if (read_file(ROOT "/user/cgroup.procs", text, sizeof text) < 0) return 0;
  int count = 0;
  char *rest = text, *line;
  while ((line = strsep(&rest, "\n")))
    if (*line && count < max) pids[count++] = (pid_t)atoi(line);
  return count;
}

void cgroup_note_services(void) {
  pid_t pids[MAX_SERVICES];
  service_count = user_pids < 0 ? 0 : list_processes(pids, MAX_SERVICES);
  service_tasks = service_count ? read_number(user_pids) : 0;
  for (int i = 0; i < service_count; i++) services[i] = (struct service){pids[i], start_of(pids[i])};
}

static bool is_service(pid_t pid) {
  for (int i = 0; i < service_count; i++)
    if (services[i].pid == pid) return services[i].started == start_of(pid);
  return false;
}

/* A service that just waits is not work; one that has begun more threads or processes is. */
bool cgroup_user_busy(void) {
  int tasks = cgroup_user_processes();
  if (!tasks) return false;
  if (!service_count || tasks > service_tasks) return true;
  pid_t pids[MAX_SERVICES + 1];
  int count = list_processes(pids, MAX_SERVICES + 1);
  for (int i = 0; i < count; i++)
    if (!is_service(pids[i])) return true;
  return false;
}

bool cgroup_kill_user(void) {
  return user_pids < 0 || (write_file(ROOT "/user/cgroup.kill", "1") && write_file(ROOT "/eval/cgroup.kill", "1"));
}

int cgroup_eval_tasks(void) { return eval_pids < 0 ? 1 : read_number(eval_pids); }

static bool change(struct group *group, bool freeze) {
  if (group->frozen == freeze || group->freeze < 0) return true;
  if (pwrite(group->freeze, freeze ? "1" : "0", 1, 0) != 1) return false;
  group->frozen = freeze;
  int64_t deadline = now_millis() + FREEZE_TIMEOUT_MILLIS;
  while (freeze) {
    char text[128];
    ssize_t n = pread(group->events, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    if (strstr(text, "frozen 1")) break;
    if (now_millis() > deadline) return false;
    usleep(200);
  }
  return true;
}

/* An interpreter that only waits for a question need not be stopped, and can then be reseeded. */
bool cgroup_freeze(void) {
  if (cgroup_user_fd < 0) return true;
  return change(&groups[0], true) && (eval_quiet() || change(&groups[1], true));
}

/* A process born into a frozen cgroup stops before it has exec'ed, and its maker waits for that. */
bool cgroup_user_frozen(void) { return groups[0].frozen; }
bool cgroup_eval_frozen(void) { return groups[1].frozen; }

void cgroup_thaw_eval(void) { change(&groups[1], false); }

void cgroup_thaw(void) {
  change(&groups[1], false);
  change(&groups[0], false);
}
