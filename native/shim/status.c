// /proc/PID/status, which tells how much of a process is pinned: the kernel knows nothing of what the emulated machine has, so
// that the server writes such a file in its place. Programs read it through open(2) or fopen(3).
#include "real.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define SHOWN __attribute__((visibility("default")))

// The process whose file a path is; 0 for any other path.
static long process_of(const char *path) {
  if (strncmp(path, "/proc/", 6) != 0) return 0;
  const char *name = path + 6;
  if (strcmp(name, "self/status") == 0) return raw(SYS_getpid);
  char *end = NULL;
  const long pid = strtol(name, &end, 10);
  return pid > 0 && strcmp(end, "/status") == 0 ? pid : 0;
}

static int open_written(int64_t number) {
  char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 32];
  const char *slash = strrchr(server_path, '/');
  const int folder = (int)(slash - server_path);
  const int length = snprintf(path, sizeof(path), "%.*s/status-%lld", folder, server_path, (long long)number);
  if (length < 0 || (size_t)length >= sizeof(path)) return -1;
  const long fd = raw(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  raw(SYS_unlinkat, AT_FDCWD, path, 0);
  return (int)fd;
}

int status_open(const char *path, bool close_on_exec) {
  const long pid = process_of(path);
  if (pid == 0) return -1;
  const int before = errno;
  struct request request = {.operation = OP_STATUS, .args = {(uint64_t)pid}, .spare = -1};
  struct reply reply;
  const int64_t number = link_call(&request, &reply);
  const int fd = number > 0 ? open_written(number) : -1;
  if (fd >= 0 && !close_on_exec) raw(SYS_fcntl, fd, F_SETFD, 0);
  errno = before;
  return fd;
}

static FILE *open_stream(const char *path, const char *mode, FILE *(*opener)(const char *, const char *)) {
  if (!path_may_be_ours(path)) return opener(path, mode);
  const int fd = mode[0] == 'r' ? status_open(path, strchr(mode, 'e') != NULL) : -1;
  if (fd >= 0) return fdopen(fd, mode);
  char place[PLACE_MAX];
  return opener(path_of(path, place), mode);
}
SHOWN FILE *fopen(const char *path, const char *mode) {
  return open_stream(path, mode, real()->fopen);
}
SHOWN FILE *fopen64(const char *path, const char *mode) {
  return open_stream(path, mode, real()->fopen64);
}
