/* The loop: one thread that waits for the channel, pipes, ended processes and deadlines. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS 32
#define LINGER_MILLIS 500

bool host_mode;
static int epoll_fd;
static struct source signals, listener = {.fd = -1};
static struct epoll_event events[EVENTS];
static int event_count;

void loop_add(struct source *source, uint32_t wanted) {
  struct epoll_event event = {.events = wanted, .data.ptr = source};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source->fd, &event)) fatal("epoll: %s", strerror(errno));
}

void loop_change(struct source *source, uint32_t wanted) {
  struct epoll_event event = {.events = wanted, .data.ptr = source};
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
}

void loop_remove(struct source *source) {
  epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
  /* It may be freed before this turn of the loop is over. */
  for (int i = 0; i < event_count; i++)
    if (events[i].data.ptr == source) events[i].data.ptr = NULL;
}

static void reap(struct source *self, uint32_t what) {
  struct signalfd_siginfo info[8];
  (void)what;
  while (read(self->fd, info, sizeof info) > 0) continue;
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    if (!eval_reaped(pid, status) && !process_reaped(pid, status) && !work_reaped(pid)) exec_reaped(pid, status);
  announce_idle();
}

static void accept_host(struct source *self, uint32_t what) {
  (void)what;
  int fd = accept4(self->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  if (channel.fd >= 0) channel_closed(); /* the latest host is the one that counts */
  channel_open(fd);
}

static void listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  unlink(path);
  listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  listener.ready = accept_host;
  if (listener.fd < 0 || bind(listener.fd, (struct sockaddr *)&address, sizeof address) || listen(listener.fd, 4))
    fatal("listen at %s: %s", path, strerror(errno));
  loop_add(&listener, EPOLLIN);
}

static int wait_millis(void) {
  int64_t deadlines[] = {exec_next_deadline(), eval_next_deadline(), process_next_deadline(), port_next_deadline()};
  int64_t next = 0;
  for (size_t i = 0; i < sizeof deadlines / sizeof *deadlines; i++)
    if (deadlines[i] && (!next || deadlines[i] < next)) next = deadlines[i];
  /* Nothing tells when a thread of the interpreter's ends. */
  if (!next && eval_lingers()) next = now_millis() + LINGER_MILLIS;
  if (!next) return -1;
  int64_t left = next - now_millis();
  return left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left + 1;
}

static void run(void) {
  while (!host_mode || channel.fd >= 0 || listener.fd >= 0) {
    event_count = epoll_wait(epoll_fd, events, EVENTS, wait_millis());
    for (int i = 0; i < event_count; i++) {
      struct source *source = events[i].data.ptr;
      if (source) source->ready(source, events[i].events);
    }
    event_count = 0;
    exec_check_deadlines();
    process_check_deadlines();
    port_check_deadlines();
    eval_check_deadlines();
    if (eval_lingers()) announce_idle();
    bool held_back;
    do { /* what waited for room in the channel is not told of it when all went out at once */
      held_back = channel_crowded();
      channel_flush();
      if (held_back) resume_output();
    } while (held_back && channel.fd >= 0 && !channel_crowded());
  }
}

static void catch_children(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  signals.ready = reap;
  loop_add(&signals, EPOLLIN);
}

int main(int argc, char **argv) {
  char mode[64];
  host_mode = argc > 1 && !strcmp(argv[1], "--host");
  if (!host_mode && getpid() != 1) {
    fprintf(stderr, "usage: forkd-agent --host (--socket PATH | --fd NUMBER) [--no-eval]\n"
                    "       (without --host it is a guest's init)\n");
    return 64;
  }
  raise_descriptors();
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (!host_mode) boot();
  defaults_load();
  catch_children();
  const char *eval = host_mode ? "auto" : boot_argument("forkd.eval", mode, sizeof mode);
  if (host_mode)
    for (int i = 2; i < argc; i++) {
      if (!strcmp(argv[i], "--no-eval")) eval = "none";
      else if (!strcmp(argv[i], "--socket") && i + 1 < argc) listen_at(argv[++i]);
      else if (!strcmp(argv[i], "--fd") && i + 1 < argc) {
        int fd = atoi(argv[++i]);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        channel_open(fd);
      }
    }
  else channel_open(boot_find_port());
  eval_launch(eval ? eval : "auto");
  run();
}
