/* The guest's cgroups: forkd/user for what the user starts, forkd/eval for the interpreter. */
#include "agent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup/forkd"
#define FREEZE_TIMEOUT_MILLIS 2000

int cgroup_user_fd = -1, cgroup_eval_fd = -1;
static int user_pids = -1, eval_pids = -1, freeze_file = -1, events_file = -1;

void cgroup_init(void) {
  if (!write_file("/sys/fs/cgroup/cgroup.subtree_control", "+pids") || mkdir(ROOT, 0755) ||
      !write_file(ROOT "/cgroup.subtree_control", "+pids") || mkdir(ROOT "/user", 0755) || mkdir(ROOT "/eval", 0755))
    fatal("the guest kernel has no cgroup v2 with a pids controller");
  cgroup_user_fd = open(ROOT "/user", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  cgroup_eval_fd = open(ROOT "/eval", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  user_pids = open(ROOT "/user/pids.current", O_RDONLY | O_CLOEXEC);
  eval_pids = open(ROOT "/eval/pids.current", O_RDONLY | O_CLOEXEC);
  freeze_file = open(ROOT "/cgroup.freeze", O_WRONLY | O_CLOEXEC);
  events_file = open(ROOT "/cgroup.events", O_RDONLY | O_CLOEXEC);
  if (cgroup_user_fd < 0 || cgroup_eval_fd < 0 || user_pids < 0 || eval_pids < 0 || freeze_file < 0 || events_file < 0)
    fatal("the guest's cgroups cannot be opened");
}

static int read_number(int fd) {
  char text[32];
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  return atoi(text);
}

int cgroup_user_processes(void) { return user_pids < 0 ? exec_running() : read_number(user_pids); }

int cgroup_eval_tasks(void) { return eval_pids < 0 ? 1 : read_number(eval_pids); }

bool cgroup_freeze(bool freeze) {
  if (freeze_file < 0) return true;
  if (pwrite(freeze_file, freeze ? "1" : "0", 1, 0) != 1) return false;
  int64_t deadline = now_millis() + FREEZE_TIMEOUT_MILLIS;
  do {
    char text[128];
    ssize_t n = pread(events_file, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    if (!freeze || strstr(text, "frozen 1")) return true;
    usleep(200);
  } while (now_millis() < deadline);
  return false;
}
