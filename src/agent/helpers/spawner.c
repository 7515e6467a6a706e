// Starts tasks for the agent: lines in, lines out (README.md beside this file has the protocol). Linux only.
// A child is cloned with the helper's memory and runs task() until exec, so starting costs no page tables and a failure is
// told through memory. It never interprets a command line, never logs and never talks to anything but its two pipes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ID_MAX 64
#define LINE_MAX_BYTES (16u << 20)
#define FIELDS_MIN 15
#define PATH_BYTES 8192
#define CHILD_STACK (128 * 1024)
#define SWEEP_MS 5000

struct running { pid_t pid; int keep; char id[ID_MAX]; };
static struct running *running;
static size_t runningCount, runningRoom;

// What the child reads, and where it leaves the reason of a failure.
struct order {
  const char *id, *dir, *trash, *cwd, *out, *err, *stage;
  char **env, **argv;
  int fresh, make, elevated, keep, hasUser, error;
  uid_t uid; gid_t gid;
  long long limit[4];
};
static const int limitKind[4] = { RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_FSIZE, RLIMIT_AS };
static pid_t self;
static char *input; static size_t inputLength, inputRoom;
static char output[1 << 16]; static size_t outputLength;
static char childStack[CHILD_STACK] __attribute__((aligned(64)));

static long long nowMs(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec * 1000LL + t.tv_nsec / 1000000; }

static void flush(void) {
  size_t at = 0;
  while (at < outputLength) {
    ssize_t n = write(1, output + at, outputLength - at);
    if (n < 0) { if (errno == EINTR) continue; break; } // the agent is gone: the end of the input says so too
    at += (size_t)n;
  }
  outputLength = 0;
}

static void say(const char *text, int length) {
  if (outputLength + (size_t)length > sizeof output) flush();
  memcpy(output + outputLength, text, (size_t)length);
  outputLength += (size_t)length;
}

// ---------------------------------------------------------------- in the child

static int fail(struct order *o, const char *stage, int error) { o->stage = stage; o->error = error; _exit(127); }

/** Makes a folder and, if need be, the folders above it. */
static int makeFolder(const char *path) {
  char part[PATH_BYTES]; size_t length = strlen(path);
  if (mkdir(path, 0700) == 0) return 0;
  if (errno != ENOENT) return errno;
  if (length >= sizeof part) return ENAMETOOLONG;
  memcpy(part, path, length + 1);
  for (char *p = part + 1; (p = strchr(p, '/')); *p++ = '/') {
    *p = 0;
    if (mkdir(part, 0700) != 0 && errno != EEXIST) return errno;
  }
  return mkdir(path, 0700) == 0 ? 0 : errno;
}

static int makeFresh(struct order *o) {
  char old[PATH_BYTES]; int error = makeFolder(o->dir);
  if (error != EEXIST) return error;
  if ((size_t)snprintf(old, sizeof old, "%s/%s", o->trash, o->id) >= sizeof old) return ENAMETOOLONG;
  if (rename(o->dir, old) != 0) return errno;
  return mkdir(o->dir, 0700) == 0 ? 0 : errno;
}

static int makeFolders(struct order *o) {
  int error = 0;
  if (o->fresh) error = makeFresh(o);
  else if (o->make && (error = makeFolder(o->dir)) == EEXIST) error = 0;
  if (error || (!o->fresh && !o->make)) return error;
  size_t length = strlen(o->dir);
  if (strncmp(o->cwd, o->dir, length) == 0 && o->cwd[length] == '/' && (error = makeFolder(o->cwd)) == EEXIST) error = 0;
  return error;
}

static void openOutput(struct order *o, const char *path, int flags, int as) {
  int file = open(path, flags | O_CLOEXEC, 0600);
  if (file < 0) fail(o, "output", errno);
  if (dup2(file, as) < 0) fail(o, "output", errno);
}

static void limits(struct order *o) {
  struct rlimit none = { 0, 0 }, now;
  setrlimit(RLIMIT_CORE, &none);
  for (int i = 0; i < 4; i++) {
    if (o->limit[i] < 0) continue;
    rlim_t wanted = (rlim_t)o->limit[i];
    if (getrlimit(limitKind[i], &now) != 0) fail(o, "limits", errno);
    if (now.rlim_max != RLIM_INFINITY && wanted > now.rlim_max) wanted = now.rlim_max;
    struct rlimit next = { wanted, wanted };
    if (setrlimit(limitKind[i], &next) != 0) fail(o, "limits", errno);
  }
}

static void becomeUser(struct order *o) {
  if (!o->hasUser) return;
  // Plain system calls: the library's wrappers would look for threads of a process whose memory this child only borrows.
  if (o->elevated) { setfsgid(o->gid); setfsuid(o->uid); return; }
  if (syscall(SYS_setgroups, 0, NULL) != 0 || syscall(SYS_setresgid, o->gid, o->gid, o->gid) != 0 ||
      syscall(SYS_setresuid, o->uid, o->uid, o->uid) != 0) fail(o, "user", errno);
}

/** Whether a search may go on: the file is not there, or it is there and not executable. */
static int elsewhere(int error) { return error == 0 || error == ENOENT || error == ENOTDIR || error == EACCES; }

/** Tries one file; keeps the most telling error: "there but not startable" wins over "not there". */
static void tryExec(struct order *o, const char *path, int *error) {
  execve(path, o->argv, o->env);
  int now = errno;
  // A script whose interpreter is missing gives ENOENT too, but the program was found.
  if (now == ENOENT && access(path, F_OK) == 0) now = ENOEXEC;
  if ((now != ENOENT && now != ENOTDIR) || *error == 0) *error = now;
}

static void run(struct order *o) {
  const char *name = o->argv[0], *path = "/usr/bin:/bin"; char file[PATH_BYTES]; int error = 0;
  if (strchr(name, '/')) { tryExec(o, name, &error); fail(o, "exec", error); }
  if (!*name) fail(o, "exec", ENOENT);
  if ((size_t)snprintf(file, sizeof file, "./%s", name) < sizeof file) tryExec(o, file, &error);
  for (char **e = o->env; *e; e++) if (strncmp(*e, "PATH=", 5) == 0) path = *e + 5;
  for (const char *p = path; *p && elsewhere(error);) {
    size_t length = strcspn(p, ":");
    if (length && (size_t)snprintf(file, sizeof file, "%.*s/%s", (int)length, p, name) < sizeof file) tryExec(o, file, &error);
    p += length; if (*p) p++;
  }
  fail(o, "exec", error ? error : ENOENT);
}

static int task(void *argument) {
  struct order *o = argument; int error;
  sigset_t none; sigemptyset(&none);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  setsid();
  limits(o);
  becomeUser(o);
  // After the change of user, which would forget it. A helper that died before this line is noticed by the next.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != self) _exit(127);
  if (!o->elevated) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if ((error = makeFolders(o))) fail(o, "dir", error);
  openOutput(o, "/dev/null", O_RDONLY, 0);
  openOutput(o, o->out, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 1);
  openOutput(o, o->err, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 2);
  if (chdir(o->cwd) != 0) fail(o, "cwd", errno);
  if (o->hasUser && o->elevated) { setfsuid(geteuid()); setfsgid(getegid()); }
  run(o);
  return 127;
}

// ---------------------------------------------------------------- in the helper

static void remember(pid_t pid, struct order *o) {
  if (runningCount == runningRoom) {
    runningRoom = runningRoom ? runningRoom * 2 : 256;
    if (!(running = realloc(running, runningRoom * sizeof *running))) abort();
  }
  struct running *r = &running[runningCount++];
  r->pid = pid; r->keep = o->keep; snprintf(r->id, sizeof r->id, "%s", o->id);
}

static void unescape(char *s) {
  char *to = strchr(s, '\\');
  if (!to) return;
  for (char *from = to; *from; from++, to++) {
    if (*from != '\\') { *to = *from; continue; }
    from++;
    *to = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from;
    if (!*from) break;
  }
  *to = 0;
}

static long long number(const char *s) { return *s == '-' ? -1 : atoll(s); }

static void launch(struct order *o) {
  char line[160];
  o->error = 0;
  pid_t pid = clone(task, childStack + CHILD_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, o);
  if (pid < 0) { say(line, snprintf(line, sizeof line, "E %s fork %d\n", o->id, errno)); return; }
  if (o->error) {
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR);
    say(line, snprintf(line, sizeof line, "E %s %s %d\n", o->id, o->stage, o->error));
    return;
  }
  remember(pid, o);
  say(line, snprintf(line, sizeof line, "S %s %d %lld\n", o->id, (int)pid, nowMs()));
}

static void start(char **f, size_t count) {
  struct order o; char line[160];
  memset(&o, 0, sizeof o);
  o.id = f[1];
  size_t env = count < FIELDS_MIN ? 0 : strtoul(f[14], NULL, 10);
  if (count < FIELDS_MIN + 1 || env > count || FIELDS_MIN + env >= count || strlen(f[1]) >= ID_MAX) {
    say(line, snprintf(line, sizeof line, "E %.63s fork %d\n", count > 1 ? f[1] : "-", EINVAL));
    return;
  }
  o.fresh = !!strchr(f[2], 'f'); o.make = !!strchr(f[2], 'm'); o.elevated = !!strchr(f[2], 'e'); o.keep = !!strchr(f[2], 'k');
  o.hasUser = *f[3] != '-'; o.uid = (uid_t)number(f[3]); o.gid = (gid_t)number(f[4]);
  for (int i = 0; i < 4; i++) o.limit[i] = number(f[5 + i]);
  o.dir = f[9]; o.trash = f[10]; o.cwd = f[11]; o.out = f[12]; o.err = f[13];
  // The fields lie in one array that ends with NULL: environment and arguments are parts of it, with a NULL put between.
  o.argv = f + FIELDS_MIN + env;
  char **copy = calloc(env + 1, sizeof *copy);
  if (!copy) abort();
  memcpy(copy, f + FIELDS_MIN, env * sizeof *copy);
  o.env = copy;
  launch(&o);
  free(copy);
}

static void signalGroup(char **f, size_t count) {
  if (count < 3) return;
  for (size_t i = 0; i < runningCount; i++) if (strcmp(running[i].id, f[1]) == 0) kill(-running[i].pid, atoi(f[2]));
}

static void obey(char *line) {
  static char **fields; static size_t room; size_t count = 0;
  for (char *p = line; p;) {
    if (count + 2 > room) { room = room ? room * 2 : 64; if (!(fields = realloc(fields, room * sizeof *fields))) abort(); }
    fields[count++] = p;
    if ((p = strchr(p, '\t'))) *p++ = 0;
  }
  fields[count] = NULL;
  for (size_t i = 1; i < count; i++) unescape(fields[i]);
  if (strcmp(fields[0], "S") == 0) start(fields, count);
  else if (strcmp(fields[0], "K") == 0) signalGroup(fields, count);
}

static void ended(size_t index) {
  struct running r = running[index]; int status; struct rusage u; char line[256];
  // The zombie still holds its number, so the group is surely that of this task.
  if (!r.keep) kill(-r.pid, SIGKILL);
  while (wait4(r.pid, &status, 0, &u) < 0 && errno == EINTR);
  running[index] = running[--runningCount];
  say(line, snprintf(line, sizeof line, "X %s %d %d %lld %lld %ld %lld\n", r.id, WIFEXITED(status) ? WEXITSTATUS(status) : 0,
    WIFSIGNALED(status) ? WTERMSIG(status) : 0, u.ru_utime.tv_sec * 1000000LL + u.ru_utime.tv_usec,
    u.ru_stime.tv_sec * 1000000LL + u.ru_stime.tv_usec, u.ru_maxrss, nowMs()));
}

static void reap(void) {
  for (;;) {
    siginfo_t info; info.si_pid = 0;
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    size_t i = 0;
    while (i < runningCount && running[i].pid != info.si_pid) i++;
    if (i < runningCount) ended(i);
    else waitpid(info.si_pid, NULL, WNOHANG); // an orphan that came back to us
  }
}

/** Kills children until there are none: whoever loses its parent becomes a child of the helper, so this reaches everybody. */
static void killAll(void) {
  char path[64], text[65536]; long long until = nowMs() + SWEEP_MS;
  for (size_t i = 0; i < runningCount; i++) kill(-running[i].pid, SIGKILL);
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)self);
  while (nowMs() < until) {
    pid_t gone;
    while ((gone = waitpid(-1, NULL, WNOHANG)) > 0);
    if (gone < 0 && errno == ECHILD) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    text[n > 0 ? n : 0] = 0;
    for (char *p = text, *next; *p; p = next) {
      pid_t pid = (pid_t)strtol(p, &next, 10);
      if (next == p) break;
      if (pid > 1) kill(pid, SIGKILL);
    }
    struct timespec pause = { 0, 1000000 };
    nanosleep(&pause, NULL);
  }
}

/** False at the end of the input. */
static int readLines(void) {
  if (inputLength == inputRoom) {
    if (inputRoom >= LINE_MAX_BYTES) return 0;
    inputRoom = inputRoom ? inputRoom * 2 : 1 << 18;
    if (!(input = realloc(input, inputRoom))) abort();
  }
  ssize_t n = read(0, input + inputLength, inputRoom - inputLength);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return 0;
  inputLength += (size_t)n;
  char *line = input, *end;
  while ((end = memchr(line, '\n', (size_t)(input + inputLength - line)))) {
    *end = 0;
    obey(line);
    reap(); // a burst of starts must not delay the news of what ended
    line = end + 1;
  }
  inputLength = (size_t)(input + inputLength - line);
  memmove(input, line, inputLength);
  return 1;
}

int main(void) {
  sigset_t all, child; char hello[64];
  self = getpid();
  umask(077);
  syscall(SYS_close_range, 3u, ~0u, 0u);
  for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
  signal(SIGPIPE, SIG_IGN);
  sigfillset(&all); sigprocmask(SIG_SETMASK, &all, NULL);
  sigemptyset(&child); sigaddset(&child, SIGCHLD);
  int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  fcntl(0, F_SETFD, FD_CLOEXEC);
  say(hello, snprintf(hello, sizeof hello, "H 1 c %d\n", (int)self));
  flush();
  for (;;) {
    struct pollfd ready[2] = { { signals, POLLIN, 0 }, { 0, POLLIN, 0 } };
    poll(ready, 2, -1);
    if (ready[0].revents) {
      struct signalfd_siginfo drained[16];
      while (read(signals, drained, sizeof drained) > 0);
      reap();
    }
    if (ready[1].revents && !readLines()) break;
    flush();
  }
  killAll();
  return 0;
}
