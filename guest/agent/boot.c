/* What an init does: file systems, modules, the root disk. Fails loudly: the console is the host's. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DISK_TIMEOUT_MILLIS 20000
#define PORT_NAME "agent"
#define NEW_ROOT "/newroot"

static void mount_or_die(const char *type, const char *where, unsigned long flags, const char *data) {
  mkdir(where, 0755);
  if (mount(type, where, type, flags, data) && errno != EBUSY) fatal("mount %s on %s: %s", type, where, strerror(errno));
}

/* The value of name=value on the kernel's command line, or null. */
const char *boot_argument(const char *name, char *into, size_t size) {
  char line[4096];
  if (read_file("/proc/cmdline", line, sizeof line) < 0) return NULL;
  size_t length = strlen(name);
  char *rest = line, *word;
  while ((word = strsep(&rest, " \n")))
    if (!strncmp(word, name, length) && word[length] == '=') {
      snprintf(into, size, "%s", word + length + 1);
      return into;
    }
  return NULL;
}

static void load_modules(void) {
  char list[8192];
  if (read_file("/modules/order", list, sizeof list) < 0) return;
  char *rest = list, *name;
  while ((name = strsep(&rest, "\n"))) {
    char path[300];
    if (!*name) continue;
    snprintf(path, sizeof path, "/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
      fatal("kernel module %s: %s", name, strerror(errno));
    close(fd);
  }
}

static void wait_for(const char *path) {
  int64_t deadline = now_millis() + DISK_TIMEOUT_MILLIS;
  while (access(path, F_OK)) {
    if (now_millis() > deadline) fatal("%s did not appear; is it the root disk, and is its driver there?", path);
    usleep(2000);
  }
}

static void copy_file(const char *from, const char *to) {
  char data[65536];
  int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  ssize_t n = -1;
  while (in >= 0 && out >= 0 && (n = read(in, data, sizeof data)) > 0)
    if (write(out, data, (size_t)n) != n) break;
  if (n != 0) fatal("copy %s to %s: %s", from, to, strerror(errno));
  close(in);
  close(out);
}

/* The initramfs lives in memory that every child would carry along. */
static void remove_tree(const char *path, dev_t device) {
  struct stat st;
  if (lstat(path, &st) || st.st_dev != device) return;
  if (!S_ISDIR(st.st_mode)) {
    unlink(path);
    return;
  }
  DIR *dir = opendir(path);
  struct dirent *d;
  while (dir && (d = readdir(dir))) {
    char child[1024];
    if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")) continue;
    snprintf(child, sizeof child, "%s/%s", strcmp(path, "/") ? path : "", d->d_name);
    remove_tree(child, device);
  }
  if (dir) closedir(dir);
  if (strcmp(path, "/")) rmdir(path);
}

static void carry_mount(const char *from, const char *to) {
  mkdir(to, 0755);
  if (mount(from, to, NULL, MS_MOVE, NULL)) fatal("move %s to %s: %s", from, to, strerror(errno));
}

static void enter_root(const char *disk) {
  struct stat initial;
  if (stat("/", &initial)) fatal("stat /: %s", strerror(errno));
  mkdir(NEW_ROOT, 0755);
  wait_for(disk);
  if (mount(disk, NEW_ROOT, "ext4", MS_NOATIME, NULL)) fatal("mount %s as ext4: %s", disk, strerror(errno));
  carry_mount("/dev", NEW_ROOT "/dev");
  carry_mount("/proc", NEW_ROOT "/proc");
  carry_mount("/sys", NEW_ROOT "/sys");
  mkdir("/run", 0755);
  mount_or_die("tmpfs", NEW_ROOT "/run", MS_NOSUID | MS_NODEV, "mode=755");
  mkdir(NEW_ROOT "/run/forkd", 0711); /* an interpreter that is not root's reads its program there */
  copy_file("/evaluator.py", NEW_ROOT "/run/forkd/evaluator.py");
  remove_tree("/", initial.st_dev);
  if (chdir(NEW_ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
    fatal("enter the root disk: %s", strerror(errno));
}

static void loopback_up(void) {
  struct ifreq request = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (!ioctl(fd, SIOCGIFFLAGS, &request)) {
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request)) note("loopback: %s", strerror(errno));
  }
  close(fd);
}

void boot(void) {
  char disk[128];
  mount_or_die("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_or_die("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_or_die("devtmpfs", "/dev", MS_NOSUID, "mode=755");
  int console = open("/dev/console", O_RDWR | O_NOCTTY);
  for (int i = 0; console >= 0 && i < 3; i++) dup2(console, i);
  if (console > 2) close(console); /* or every program of the user's would have it */
  load_modules();
  enter_root(boot_argument("forkd.root", disk, sizeof disk) ? disk : "/dev/vda");
  mkdir("/dev/pts", 0755);
  mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666");
  mount_or_die("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
  symlink("/proc/self/fd", "/dev/fd");
  symlink("/proc/self/fd/0", "/dev/stdin");
  symlink("/proc/self/fd/1", "/dev/stdout");
  symlink("/proc/self/fd/2", "/dev/stderr");
  mount_or_die("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  loopback_up();
  write_file("/proc/sys/fs/inotify/max_user_instances", "1024"); /* a watch is one */
  write_file("/proc/sys/fs/inotify/max_user_watches", "65536");
  sethostname("forkd", 5);
  cgroup_init();
  guest_identity_init();
}

/* The port's device: its number depends on what else there is, its name does not. */
int boot_find_port(void) {
  int64_t deadline = now_millis() + DISK_TIMEOUT_MILLIS;
  for (;;) {
    DIR *dir = opendir("/sys/class/virtio-ports");
    struct dirent *d;
    while (dir && (d = readdir(dir))) {
      char path[400], name[64] = "";
      if (d->d_name[0] == '.') continue;
      snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", d->d_name);
      read_file(path, name, sizeof name);
      name[strcspn(name, "\n")] = 0;
      if (strcmp(name, PORT_NAME)) continue;
      snprintf(path, sizeof path, "/dev/%s", d->d_name);
      int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
      closedir(dir);
      if (fd < 0) fatal("open %s: %s", path, strerror(errno));
      return fd;
    }
    if (dir) closedir(dir);
    if (now_millis() > deadline) fatal("there is no virtio port named " PORT_NAME);
    usleep(2000);
  }
}
