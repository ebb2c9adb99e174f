// The calls that the shim has in place of the C library's. Each looks at a byte, and leaves all but the emulated machine's
// own files to the library.
#include "real.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define SHOWN __attribute__((visibility("default")))

// As system calls' answers become the library's.
static int64_t settle(int64_t result) {
  if (result >= 0) return result;
  errno = (int)-result;
  return -1;
}

// fs/ioctl.c: what is answered before a file's own ioctls are asked. The socket knows all of these.
static bool is_any_files(unsigned long command) {
  return command == FIOCLEX || command == FIONCLEX || command == FIONBIO || command == FIOASYNC;
}

int64_t call_open(int folder, const char *path, int flags, unsigned int mode) {
  if (!path_may_be_ours(path)) return real()->openat(folder, path, flags, mode);
  if (file_is_path(path)) return settle(file_open(path, flags));
  const int status = (flags & O_ACCMODE) == O_RDONLY ? status_open(path, (flags & O_CLOEXEC) != 0) : -1;
  if (status >= 0) return status;
  char place[PLACE_MAX];
  return real()->openat(folder, path_of(path, place), flags, mode);
}

// openat2(2), which libraries have no function for yet: a struct of numbers, of which the first are the flags.
int64_t call_openat2(int folder, const char *path, const void *how, size_t size) {
  uint64_t flags = 0;
  if (!path_may_be_ours(path) || size < 3 * sizeof(flags) || !may_be_read(how, sizeof(flags))) {
    return raw(SYS_openat2, folder, path, how, size);
  }
  memcpy(&flags, how, sizeof(flags));
  if (file_is_path(path)) return settle(file_open(path, (int)flags));
  char place[PLACE_MAX];
  return raw(SYS_openat2, folder, path_of(path, place), how, size);
}

int64_t call_ioctl(int fd, unsigned long command, uintptr_t argument) {
  uint64_t file = 0;
  if (!is_file(fd, &file) || is_any_files(command)) return real()->ioctl(fd, command, argument);
  return settle(file_ioctl(file, (uint32_t)command, argument));
}

static unsigned int mode_of(int flags, va_list list) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, unsigned int) : 0;
}

SHOWN int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned int mode = mode_of(flags, list);
  va_end(list);
  return (int)call_open(AT_FDCWD, path, flags, mode);
}
SHOWN int openat(int folder, const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned int mode = mode_of(flags, list);
  va_end(list);
  return (int)call_open(folder, path, flags, mode);
}

SHOWN int ioctl(int fd, unsigned long command, ...) {
  va_list list;
  va_start(list, command);
  const uintptr_t argument = va_arg(list, uintptr_t);
  va_end(list);
  return (int)call_ioctl(fd, command, argument);
}

SHOWN ssize_t read(int fd, void *to, size_t length) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->read(fd, to, length);
  return settle(file_transfer(OP_READ, fd, file, to, length, 0));
}
SHOWN ssize_t write(int fd, const void *from, size_t length) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->write(fd, from, length);
  return settle(file_transfer(OP_WRITE, fd, file, from, length, 0));
}
SHOWN ssize_t pread(int fd, void *to, size_t length, off_t position) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->pread(fd, to, length, position);
  return settle(file_transfer(OP_PREAD, fd, file, to, length, position));
}
SHOWN ssize_t pwrite(int fd, const void *from, size_t length, off_t position) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->pwrite(fd, from, length, position);
  return settle(file_transfer(OP_PWRITE, fd, file, from, length, position));
}
SHOWN ssize_t readv(int fd, const struct iovec *parts, int count) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->readv(fd, parts, count);
  return settle(file_vector(OP_READ, fd, file, parts, count, 0));
}
SHOWN ssize_t writev(int fd, const struct iovec *parts, int count) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->writev(fd, parts, count);
  return settle(file_vector(OP_WRITE, fd, file, parts, count, 0));
}
SHOWN ssize_t preadv(int fd, const struct iovec *parts, int count, off_t position) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->preadv(fd, parts, count, position);
  return settle(file_vector(OP_PREAD, fd, file, parts, count, position));
}
SHOWN ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t position) {
  uint64_t file = 0;
  if (!is_file(fd, &file)) return real()->pwritev(fd, parts, count, position);
  return settle(file_vector(OP_PWRITE, fd, file, parts, count, position));
}
