// Other names of the same calls: those for 64-bit offsets, those that fortified programs call, and syscall(2).
#include "real.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

// Only newer headers have it, elsewhere.
SHOWN int pidfd_getfd(int process, int fd, unsigned int flags);
// No headers declare these for programs that are not fortified.
SHOWN int open64(const char *path, int flags, ...);
SHOWN int openat64(int folder, const char *path, int flags, ...);
SHOWN int __open_2(const char *path, int flags);
SHOWN int __open64_2(const char *path, int flags);
SHOWN int __openat_2(int folder, const char *path, int flags);
SHOWN int __openat64_2(int folder, const char *path, int flags);
SHOWN ssize_t __read_chk(int fd, void *to, size_t length, size_t room);
SHOWN ssize_t __pread_chk(int fd, void *to, size_t length, off_t position, size_t room);
SHOWN ssize_t __pread64_chk(int fd, void *to, size_t length, off_t position, size_t room);
SHOWN char *__realpath_chk(const char *path, char *into, size_t room);
SHOWN ssize_t __readlink_chk(const char *path, char *into, size_t length, size_t room);
SHOWN ssize_t __readlinkat_chk(int folder, const char *path, char *into, size_t length, size_t room);
// Programs that were linked against older libraries (glibc before 2.33) call these.
SHOWN int __xstat(int version, const char *path, struct stat *status);
SHOWN int __lxstat(int version, const char *path, struct stat *status);
SHOWN int __fxstatat(int version, int folder, const char *path, struct stat *status, int flags);
SHOWN int __xstat64(int version, const char *path, struct stat64 *status);
SHOWN int __lxstat64(int version, const char *path, struct stat64 *status);
SHOWN int __fxstatat64(int version, int folder, const char *path, struct stat64 *status, int flags);

static unsigned int mode_of(int flags, va_list list) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, unsigned int) : 0;
}
SHOWN int open64(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned int mode = mode_of(flags, list);
  va_end(list);
  return (int)call_open(AT_FDCWD, path, flags, mode);
}
SHOWN int openat64(int folder, const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const unsigned int mode = mode_of(flags, list);
  va_end(list);
  return (int)call_open(folder, path, flags, mode);
}
SHOWN int __open_2(const char *path, int flags) {
  return (int)call_open(AT_FDCWD, path, flags, 0);
}
SHOWN int __open64_2(const char *path, int flags) {
  return (int)call_open(AT_FDCWD, path, flags, 0);
}
SHOWN int __openat_2(int folder, const char *path, int flags) {
  return (int)call_open(folder, path, flags, 0);
}
SHOWN int __openat64_2(int folder, const char *path, int flags) {
  return (int)call_open(folder, path, flags, 0);
}

// What the library does, too: the program is about to overwrite what is behind its buffer.
static void check_room(size_t length, size_t room) {
  if (length > room) abort();
}
SHOWN ssize_t __read_chk(int fd, void *to, size_t length, size_t room) {
  check_room(length, room);
  return read(fd, to, length);
}
SHOWN ssize_t __pread_chk(int fd, void *to, size_t length, off_t position, size_t room) {
  check_room(length, room);
  return pread(fd, to, length, position);
}
SHOWN ssize_t __pread64_chk(int fd, void *to, size_t length, off_t position, size_t room) {
  check_room(length, room);
  return pread(fd, to, length, position);
}
SHOWN char *__realpath_chk(const char *path, char *into, size_t room) {
  check_room(PATH_MAX, room);
  return realpath(path, into);
}
SHOWN ssize_t __readlink_chk(const char *path, char *into, size_t length, size_t room) {
  check_room(length, room);
  return readlink(path, into, length);
}
SHOWN ssize_t __readlinkat_chk(int folder, const char *path, char *into, size_t length, size_t room) {
  check_room(length, room);
  return readlinkat(folder, path, into, length);
}
// There is one version of the struct on 64-bit systems, and it is the struct of today.
SHOWN int __xstat(int version, const char *path, struct stat *status) {
  (void)version;
  return stat(path, status);
}
SHOWN int __lxstat(int version, const char *path, struct stat *status) {
  (void)version;
  return lstat(path, status);
}
SHOWN int __fxstatat(int version, int folder, const char *path, struct stat *status, int flags) {
  (void)version;
  return fstatat(folder, path, status, flags);
}
SHOWN int __xstat64(int version, const char *path, struct stat64 *status) {
  (void)version;
  return stat64(path, status);
}
SHOWN int __lxstat64(int version, const char *path, struct stat64 *status) {
  (void)version;
  return lstat64(path, status);
}
SHOWN int __fxstatat64(int version, int folder, const char *path, struct stat64 *status, int flags) {
  (void)version;
  return fstatat64(folder, path, status, flags);
}
SHOWN ssize_t pread64(int fd, void *to, size_t length, off_t position) {
  return pread(fd, to, length, position);
}
SHOWN ssize_t pwrite64(int fd, const void *from, size_t length, off_t position) {
  return pwrite(fd, from, length, position);
}
SHOWN ssize_t preadv64(int fd, const struct iovec *parts, int count, off_t position) {
  return preadv(fd, parts, count, position);
}
SHOWN ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t position) {
  return pwritev(fd, parts, count, position);
}
// fs/read_write.c: a position of -1 is the file's own. None of these files can say that it would have to wait.
static ssize_t vector(bool reads, int fd, const struct iovec *parts, int count, off_t position, int flags) {
  if ((flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC)) != 0) {
    errno = EOPNOTSUPP;
    return -1;
  }
  if (position == -1) return reads ? readv(fd, parts, count) : writev(fd, parts, count);
  return reads ? preadv(fd, parts, count, position) : pwritev(fd, parts, count, position);
}
SHOWN ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t position, int flags) {
  uint64_t file = 0;
  if (is_file(fd, &file)) return vector(true, fd, parts, count, position, flags);
  return real()->preadv2(fd, parts, count, position, flags);
}
SHOWN ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t position, int flags) {
  uint64_t file = 0;
  if (is_file(fd, &file)) return vector(false, fd, parts, count, position, flags);
  return real()->pwritev2(fd, parts, count, position, flags);
}
SHOWN ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off_t position, int flags) {
  return preadv2(fd, parts, count, position, flags);
}
SHOWN ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t position, int flags) {
  return pwritev2(fd, parts, count, position, flags);
}
SHOWN void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap(at, length, protection, flags, fd, offset);
}
SHOWN int fcntl64(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  return fcntl(fd, command, argument);
}

// Another process's fd may be a file.
SHOWN int pidfd_getfd(int process, int fd, unsigned int flags) {
  const int got = (int)raw(SYS_pidfd_getfd, process, fd, flags);
  uint64_t file = 0;
  if (got >= 0 && link_is_ours(got, &file)) mark(got);
  return got;
}
