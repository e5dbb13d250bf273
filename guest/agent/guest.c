/* The guest as a whole: time, entropy, identity, rest. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define MACHINE_ID "/run/forkd/machine-id"
#define ENTROPY_BYTES 64
#define SAMPLE_BYTES 32
#define STEP_NANOS 1000000

bool guest_idle(void) { return open_streams() == 0 && !cgroup_user_busy() && eval_quiet(); }

/* Kept open: looking a file up costs a child more than writing it. */
static int machine_id_fd = -1, random_fd = -1;

/* The machine id is in memory, bound over the file: a fork must not have to write its disk. */
void guest_identity_init(void) {
  char old[64] = "uninitialized\n";
  random_fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  read_file("/etc/machine-id", old, sizeof old);
  if (access("/etc/machine-id", F_OK) && !write_file("/etc/machine-id", "")) return;
  machine_id_fd = open(MACHINE_ID, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
  if (machine_id_fd < 0 || write(machine_id_fd, old, strlen(old)) < 0 || mount(MACHINE_ID, "/etc/machine-id", NULL, MS_BIND, NULL))
    note("machine-id cannot be bound: %s", strerror(errno));
}

static int64_t unix_nanos(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool set_clock(int64_t nanos) {
  struct timespec t = {.tv_sec = (time_t)(nanos / 1000000000), .tv_nsec = (long)(nanos % 1000000000)};
  return host_mode || !clock_settime(CLOCK_REALTIME, &t);
}

void guest_clock(uint64_t nanos) {
  int64_t off = (int64_t)nanos - unix_nanos();
  if (off > STEP_NANOS || off < -STEP_NANOS) set_clock((int64_t)nanos);
}

static bool mix_entropy(const uint8_t entropy[ENTROPY_BYTES]) {
  struct {
    struct rand_pool_info info;
    uint8_t bytes[ENTROPY_BYTES];
  } pool = {.info = {.entropy_count = ENTROPY_BYTES * 8, .buf_size = ENTROPY_BYTES}};
  if (host_mode) return true;
  memcpy(pool.bytes, entropy, ENTROPY_BYTES);
  return random_fd >= 0 && !ioctl(random_fd, RNDADDENTROPY, &pool) && !ioctl(random_fd, RNDRESEEDCRNG);
}

static bool set_identity(const char *hostname, const char *machine_id) {
  char line[40];
  if (host_mode) return true;
  int length = snprintf(line, sizeof line, "%s\n", machine_id);
  return !sethostname(hostname, strlen(hostname)) && (machine_id_fd < 0 || pwrite(machine_id_fd, line, (size_t)length, 0) == length);
}

static void start_epoch(struct stream *s, json_t *request) {
  json_t *epoch = json_object_get(request, "epoch"), *time = json_object_get(request, "timeNanos");
  const char *hostname = json_string_value(json_object_get(request, "hostname"));
  const char *machine_id = json_string_value(json_object_get(request, "machineId"));
  uint8_t entropy[ENTROPY_BYTES], token[TOKEN_BYTES], sample[SAMPLE_BYTES], id[16];
  char sample_hex[2 * SAMPLE_BYTES + 1], interpreter[33];
  if (!json_is_integer(epoch) || !json_is_integer(time) || !hostname || strlen(hostname) > 63 ||
      !from_hex(machine_id, id, sizeof id) ||
      !from_hex(json_string_value(json_object_get(request, "entropy")), entropy, sizeof entropy) ||
      !from_hex(json_string_value(json_object_get(request, "token")), token, sizeof token)) {
    stream_fail(s, "invalid_argument", "epoch needs epoch, timeNanos, entropy, hostname, machineId and token");
    return;
  }
  if (!set_clock(json_integer_value(time)) || !set_identity(hostname, machine_id)) {
    stream_fail_errno(s, errno, "clock or identity");
    return;
  }
  bool reseeded = mix_entropy(entropy);
  /* One with threads was frozen; it cannot answer so. */
  if (!strcmp(eval_state(), "ready")) cgroup_thaw_eval();
  reseeded &= eval_reseed(interpreter);
  if (getrandom(sample, sizeof sample, 0) != sizeof sample) reseeded = false;
  channel_set_token(token);
  to_hex(sample, sizeof sample, sample_hex);
  json_t *result = json_pack("{s:O,s:s,s:I,s:s,s:s,s:b}", "epoch", epoch, "random", sample_hex, "clockNanos",
                             host_mode ? json_integer_value(time) : (json_int_t)unix_nanos(), "hostname", hostname,
                             "machineId", machine_id, "reseeded", reseeded);
  if (interpreter[0]) json_object_set_new(result, "interpreter", json_string(interpreter));
  if (host_mode) json_object_set_new(result, "simulated", json_true());
  stream_end(s, result);
}

static void start_freeze(struct stream *s) {
  int64_t begin = unix_nanos();
  int processes = cgroup_user_processes();
  /* With nothing but an interpreter that waits for a question there is nothing to stop. */
  if (processes == 0 && eval_quiet()) {
    stream_end(s, json_pack("{s:b,s:i,s:i}", "frozen", 0, "processes", 0, "micros", 0));
    return;
  }
  if (!cgroup_freeze()) {
    cgroup_thaw();
    eval_thawed();
    stream_fail(s, "deadline_exceeded", "%d user processes could not be frozen in time", processes);
    return;
  }
  stream_end(s, json_pack("{s:b,s:i,s:I}", "frozen", 1, "processes", processes, "micros",
                          (json_int_t)(unix_nanos() - begin) / 1000));
}

static json_int_t memory_kib(const char *field) {
  char text[512];
  const char *found = read_file("/proc/meminfo", text, sizeof text) > 0 ? strstr(text, field) : NULL;
  return found ? atoll(found + strlen(field)) : 0;
}

static void report_status(struct stream *s) {
  json_t *status = eval_description();
  json_object_set_new(status, "processes", json_integer(cgroup_user_processes()));
  json_object_set_new(status, "uptimeMillis", json_integer((json_int_t)now_millis()));
  json_object_set_new(status, "memoryTotalKib", json_integer(memory_kib("MemTotal:")));
  json_object_set_new(status, "memoryAvailableKib", json_integer(memory_kib("MemAvailable:")));
  stream_end(s, status);
}

/* All CPUs together, neither idle nor waiting for a disk; since boot. */
static json_int_t cpu_busy_millis(int *cpus) {
  char text[8192];
  unsigned long long user, nice, system, idle, wait, irq, soft, steal;
  *cpus = 0;
  if (read_file("/proc/stat", text, sizeof text) <= 0 ||
      sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &soft, &steal) != 8)
    return 0;
  for (char *at = text; (at = strstr(at, "\ncpu")); at += 4) ++*cpus;
  return (json_int_t)((user + nice + system + irq + soft + steal) * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK));
}

static void report_usage(struct stream *s) {
  struct statvfs disk;
  int cpus;
  json_int_t busy = cpu_busy_millis(&cpus);
  json_int_t total = memory_kib("MemTotal:"), available = memory_kib("MemAvailable:"), cached = memory_kib("\nCached:");
  if (statvfs("/", &disk)) memset(&disk, 0, sizeof disk);
  json_int_t disk_total = (json_int_t)disk.f_blocks * (json_int_t)disk.f_frsize;
  stream_end(s, json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "cpuCount", cpus ? cpus : 1, "cpuBusyMillis", busy,
                          "uptimeMillis", (json_int_t)now_millis(), "memoryTotalBytes", total * 1024, "memoryUsedBytes",
                          (total - available) * 1024, "memoryCacheBytes", cached * 1024, "diskTotalBytes", disk_total,
                          "diskUsedBytes", disk_total - (json_int_t)disk.f_bfree * (json_int_t)disk.f_frsize));
}

/* Ends all that runs, as a cold boot would, and keeps the files. */
static void reset(struct stream *s) {
  if (!cgroup_kill_user()) {
    stream_fail_errno(s, errno, "cannot end the guest's processes");
    return;
  }
  if (!host_mode) sync();
  stream_end(s, json_object());
}

/* Timers that would make a fresh child do work nobody asked for. */
static void settle(void) {
  if (host_mode) return;
  cgroup_note_services();
  write_file("/proc/sys/vm/stat_interval", "3600");
  write_file("/proc/sys/vm/dirty_writeback_centisecs", "0");
  write_file("/proc/sys/vm/compaction_proactiveness", "0");
}

bool guest_start(struct stream *s, const char *op, json_t *request) {
  if (!strcmp(op, "epoch")) {
    start_epoch(s, request);
  } else if (!strcmp(op, "freeze")) {
    start_freeze(s);
  } else if (!strcmp(op, "thaw")) {
    cgroup_thaw();
    eval_thawed();
    stream_end(s, json_object());
  } else if (!strcmp(op, "clock")) {
    stream_end(s, json_pack("{s:I}", "clockNanos", (json_int_t)unix_nanos()));
  } else if (!strcmp(op, "status")) {
    report_status(s);
  } else if (!strcmp(op, "usage")) {
    report_usage(s);
  } else if (!strcmp(op, "reset")) {
    reset(s);
  } else if (!strcmp(op, "sync")) {
    if (!host_mode) sync();
    stream_end(s, json_object());
  } else if (!strcmp(op, "settle")) {
    settle();
    stream_end(s, json_object());
  } else {
    return false;
  }
  return true;
}
