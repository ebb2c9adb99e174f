// The ways in which a program ends, or becomes another one: what devices may still reach of its memory is taken over before.
// A program that is killed is not asked.
#include "real.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
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

// A file that cannot be run leaves everything as it is.
static void before_running(const char *path) {
  const int before = errno;
  if (raw(SYS_faccessat, AT_FDCWD, path, X_OK) == 0) pages_end();
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
static void before_running_name(const char *name) {
  if (strchr(name, '/') == NULL) pages_end();
  else before_running(name);
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
