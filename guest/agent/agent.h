/* forkd's guest agent: PID 1 of every guest. See guest/PROTOCOL.md for what it speaks. */
#ifndef FORKD_AGENT_H
#define FORKD_AGENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define AGENT_VERSION "1.0.0"
#define AGENT_PROTOCOL 1 /* the version in guest/PROTOCOL.md */
#define MAX_PAYLOAD 16384
#define HEADER_BYTES 8
#define TOKEN_BYTES 32
#define NONCE_BYTES 32
#define MAX_STREAMS 1024
#define MAX_DESCRIPTORS (4 * MAX_STREAMS)
#define MAX_REQUEST (4u << 20)
#define INITIAL_CREDIT 262144
#define MAX_EVALS 64

enum frame_type {
  F_SYNC = 1, F_OPEN, F_DATA, F_EOF, F_WINDOW, F_SIGNAL, F_CANCEL, F_END, F_ERROR, F_IDLE, F_READY, F_CLOCK, F_NOTE
};
enum { FLAG_MORE = 1 };
enum { CH_IN = 0, CH_OUT = 1, CH_ERR = 2 };

/* Grows as needed; never shrinks but when emptied. */
struct buffer {
  uint8_t *data;
  size_t start, end, capacity;
};
void buffer_add(struct buffer *b, const void *data, size_t size);
void buffer_consume(struct buffer *b, size_t size);
void buffer_clear(struct buffer *b);
void buffer_free(struct buffer *b);
static inline size_t buffer_size(const struct buffer *b) { return b->end - b->start; }
static inline const uint8_t *buffer_at(const struct buffer *b) { return b->data + b->start; }

/* Something that epoll tells about. */
struct source {
  int fd;
  void (*ready)(struct source *self, uint32_t events);
};
void loop_add(struct source *source, uint32_t events);
void loop_change(struct source *source, uint32_t events);
void loop_remove(struct source *source);
int64_t now_millis(void);

struct stream;
/* What a kind of request does when frames of its stream arrive, when credit comes back, and when it
 * has to go. Null where it has nothing to do. */
struct stream_ops {
  void (*input)(struct stream *s, const uint8_t *data, size_t size);
  void (*input_end)(struct stream *s);
  void (*credit)(struct stream *s);
  void (*signal)(struct stream *s, int number);
  void (*cancel)(struct stream *s); /* the peer gave it up: end its work */
  void (*detach)(struct stream *s); /* the peer is gone: what the user started goes on unheard */
};
struct stream {
  uint32_t id;
  struct stream *next; /* with a number that looks alike */
  const struct stream_ops *ops; /* null while its request is incomplete */
  void *state;
  struct buffer request;
  int64_t send_credit[3];
  int64_t receive_credit;
  uint32_t consumed;
};

/* channel.c */
extern struct source channel;
extern bool host_mode;
void channel_open(int fd);
void channel_closed(void);
bool channel_crowded(void);
void resume_output(void);
void channel_flush(void);
void channel_set_token(const uint8_t token[TOKEN_BYTES]);
void send_frame(uint32_t stream, enum frame_type type, int flags, const void *data, size_t size);
void send_json(uint32_t stream, enum frame_type type, json_t *json);
void stream_end(struct stream *s, json_t *result); /* takes the result; frees the stream */
void stream_fail(struct stream *s, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void stream_fail_errno(struct stream *s, int error, const char *what);
void stream_consumed(struct stream *s, size_t size); /* gives input credit back */
int open_streams(void);
void forget_streams(void);
void announce_idle(void);
void announce_ready(void);

/* exec.c */
void exec_start(struct stream *s, json_t *request);
void exec_reaped(pid_t pid, int status);
int64_t exec_next_deadline(void);
void exec_check_deadlines(void);
void exec_resume_output(void);
int exec_running(void);
/* Starts a program: true, or false with errno and the step that failed. */
struct spawn {
  char *const *argv;
  char *const *env;
  const char *cwd;
  uid_t uid;
  gid_t gid;
  const gid_t *groups;
  size_t group_count;
  bool drop_user;
  int fds[3];
  bool terminal; /* descriptor 0 becomes its controlling terminal */
  int keep_fd; /* passed on as descriptor 3, or -1 */
  int cgroup_fd; /* or -1 */
};
void raise_descriptors(void);
bool spawn_process(const struct spawn *spawn, pid_t *pid, const char **step);
void spawn_close(struct spawn *spawn); /* its descriptors, which the program has by now */

/* drain.c: a program that a user has started, and its pipes */
struct program;
enum { UNHEARD = -1 };
struct program_ops {
  int64_t (*room)(const struct program *p, int channel); /* how much those who listen can take; UNHEARD when nobody does */
  void (*deliver)(struct program *p, int channel, const uint8_t *data, size_t size); /* to them */
  void (*ready)(struct source *pipe, uint32_t events);
};
struct program {
  const struct program_ops *ops;
  pid_t pid;
  bool terminal, exited, timed_out;
  int status;
  int64_t deadline, drain_deadline; /* 0: none */
  struct pipe_end {
    struct source source; /* first: a source is cast back to its pipe */
    struct program *program;
    int channel;
    int owed;        /* in it when the program ended: what that wrote itself */
    uint32_t events; /* 0: the loop does not know it */
  } pipes[3]; /* of a terminal, the master is the output's, and input goes there too */
};
void program_init(struct program *p, const struct program_ops *ops);
bool program_pipes(struct program *p, struct spawn *spawn, bool input, bool output); /* /dev/null where there is none */
void program_watch(struct program *p); /* it has started: the loop tells of its pipes */
void program_close(struct program *p);
void program_read(struct program *p);
void program_ended(struct program *p, int status);
bool program_over(const struct program *p); /* it has ended, and its pipes are empty or have been left open by others for too long */
int64_t program_deadline(const struct program *p); /* 0: none */
void program_check_deadline(struct program *p, int64_t now);
json_t *program_result(int status, bool timed_out);
/* Reads what it has written, as far as those who listen want to have it. What nobody wants is read away in turns: a
 * program may write as fast as it is read, and all others would wait for its end. */
void pipe_read(struct pipe_end *pipe);
void pipe_close(struct pipe_end *pipe);

/* input.c */
struct input_queue {
  struct program *program;
  struct input *first;
};
void input_start(struct input_queue *queue, struct stream *s, bool closes); /* a request that writes, or closes */
void input_pump(struct input_queue *queue);
void input_over(struct input_queue *queue); /* the process has ended */
int pipe_write(int fd, struct buffer *b, struct stream *s); /* 0 when all is written, or an error; gives the stream credit, if there is one */

/* command.c */
struct account { uid_t uid; gid_t gid; char name[64], home[256]; };
struct command {
  char **argv, **env;
  struct account account;
  gid_t groups[64];
  struct spawn spawn; /* its descriptors are the caller's */
};
bool command_user(const char *wanted, struct command *c, char *why, size_t size); /* sets its account and who it becomes */
char **command_environment(json_t *extra, const struct account *account);
bool all_strings(json_t *json);
void free_strings(char **strings);
bool command_prepare(struct command *c, struct stream *s, json_t *request); /* or has answered */
void command_fail(struct command *c, struct stream *s, int error, const char *step);
void command_free(struct command *c);

/* defaults.c: what the image says; null where it says nothing */
void defaults_load(void);
json_t *defaults_env(void);
const char *defaults_user(void);
const char *defaults_folder(void); /* if it is there */
const char *defaults_path(void);   /* never null */

/* process.c */
bool process_start(struct stream *s, const char *op, json_t *request);
bool process_reaped(pid_t pid, int status);
int64_t process_next_deadline(void);
void process_check_deadlines(void);
void process_resume_output(void);
int process_running(void);

/* ports.c */
void port_connect(struct stream *s, json_t *request);
int64_t port_next_deadline(void);
void port_check_deadlines(void);
void port_resume_output(void);

/* watch.c */
void watch_start(struct stream *s, const char *path, json_t *request);

/* eval.c */
void eval_start(struct stream *s, json_t *request);
bool eval_reaped(pid_t pid, int status);
void eval_launch(const char *mode);
const char *eval_state(void);
json_t *eval_description(void);
bool eval_settled(void);
bool eval_quiet(void);
bool eval_lingers(void); /* nothing is asked, but something of the interpreter's still runs */
void eval_thawed(void);
bool eval_reseed(char sample_hex[33]);
int64_t eval_next_deadline(void);
void eval_check_deadlines(void);

/* files.c */
bool files_start(struct stream *s, const char *op, json_t *request);
void files_resume_output(void);

/* work.c: a body writes with work_error whether it can do it, then what it has to say as DATA on 1 */
typedef void work_body(FILE *out, const void *argument);
void work_error(FILE *out, int error);
void work_start(struct stream *s, const char *verb, const char *path, work_body *body, const void *argument);
void work_resume_output(void);
bool work_reaped(pid_t pid);

/* entry.c */
json_t *entry_of(const char *path); /* itself; null with errno */
json_t *entry_followed(const char *path);
void entry_names_begin(void); /* names of owners are looked up anew */
#define MAX_ANSWER_BYTES (6u << 20) /* of a list: a host takes 8 MiB */
static inline size_t json_size(const json_t *json) { return json_dumpb(json, NULL, 0, JSON_COMPACT) + 1; }

/* guest.c */
bool guest_start(struct stream *s, const char *op, json_t *request);
void guest_clock(uint64_t unix_nanos);
bool guest_idle(void);
void guest_identity_init(void);

/* cgroup.c */
extern int cgroup_user_fd, cgroup_eval_fd;
void cgroup_init(void);
int cgroup_user_processes(void);
bool cgroup_user_busy(void); /* more runs than the template's services */
void cgroup_note_services(void);
bool cgroup_kill_user(void);
int cgroup_eval_tasks(void);
bool cgroup_freeze(void);
bool cgroup_user_frozen(void);
bool cgroup_eval_frozen(void);
void cgroup_thaw_eval(void); /* the interpreter alone, to give it a new seed */
void cgroup_thaw(void);

/* boot.c */
void boot(void);
int boot_find_port(void);
const char *boot_argument(const char *name, char *into, size_t size);

/* util.c */
void fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool write_file(const char *path, const char *text);
ssize_t read_file(const char *path, char *into, size_t size);
void to_hex(const uint8_t *data, size_t size, char *hex);
bool from_hex(const char *hex, uint8_t *data, size_t size);
void set_nonblocking(int fd);
int unread(int fd); /* bytes in a pipe */
json_t *json_text(const char *text); /* bytes that are not UTF-8 are told as U+FFFD */
bool find_account(const char *name, struct account *account);
bool find_group(const char *wanted, gid_t *gid); /* by name or number; a number need not be known */
size_t find_groups(const struct account *account, gid_t *groups, size_t max);

#endif
