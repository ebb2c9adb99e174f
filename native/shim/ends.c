// The ways in which a program ends, or becomes another one: what devices may still reach of its memory is taken over before.
// A program that is killed is not asked.
#include "real.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SHOWN __attribute__((visibility("default")))

__attribute__((destructor)) static void end(void) {
  pages_end();
}

SHOWN void _exit(int status) {
  pages_end();
  raw(SYS_exit_group, status);
  abort();
}
SHOWN void _Exit(int status) {
  _exit(status);
}

// Whether a file may be one that can be run. faccessat asks as the real user, the kernel as the effective one.
static bool may_run(const char *path) {
  struct statx status;
  if (raw(SYS_statx, AT_FDCWD, path, 0, STATX_TYPE, &status) == 0 && !S_ISREG(status.stx_mode)) return false;
  if (raw(SYS_faccessat, AT_FDCWD, path, X_OK) == 0) return true;
  return errno == EACCES && (getuid() != geteuid() || getgid() != getegid());
}
// A file that cannot be run leaves everything as it is.
static void before_running(const char *path) {
  const int before = errno;
  if (may_run(path)) pages_end();
  errno = before;
}
SHOWN int execve(const char *path, char *const arguments[], char *const environment[]) {
  before_running(path);
  return (int)raw(SYS_execve, path, arguments, environment);
}
SHOWN int execv(const char *path, char *const arguments[]) {
  return execve(path, arguments, environ);
}
// A name without a slash is looked for in many folders.
static bool may_run_name(const char *name) {
  const char *folders = getenv("PATH");
  if (strchr(name, '/') != NULL) return may_run(name);
  if (folders == NULL) return true;
  for (;;) {
    const size_t length = strcspn(folders, ":");
    char path[PLACE_MAX];
    const int all = snprintf(path, sizeof(path), "%.*s%s%s", (int)length, folders, length == 0 ? "" : "/", name);
    if (all < 0 || (size_t)all >= sizeof(path) || may_run(path)) return true;
    if (folders[length] == '\0') return false;
    folders += length + 1;
  }
}
static void before_running_name(const char *name) {
  const int before = errno;
  if (may_run_name(name)) pages_end();
  errno = before;
}
SHOWN int execvp(const char *file, char *const arguments[]) {
  before_running_name(file);
  return real()->execvp(file, arguments);
}
SHOWN int execvpe(const char *file, char *const arguments[], char *const environment[]) {
  before_running_name(file);
  return real()->execvpe(file, arguments, environment);
}
SHOWN int fexecve(int fd, char *const arguments[], char *const environment[]) {
  pages_end();
  return real()->fexecve(fd, arguments, environment);
}
