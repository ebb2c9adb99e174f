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
static long mark_new(long number, long result) {
  uint64_t file = 0;
  if (number == SYS_pidfd_getfd && result >= 0 && link_is_ours((int)result, &file)) mark((int)result);
  return result;
}
// Programs that name system calls by number. Those about files come back to the functions above.
SHOWN long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  switch (number) {
#ifdef SYS_open
    case SYS_open:
      return call_open(AT_FDCWD, (const char *)a[0], (int)a[1], (unsigned int)a[2]);
#endif
    case SYS_openat:
      return call_open((int)a[0], (const char *)a[1], (int)a[2], (unsigned int)a[3]);
    case SYS_statx:
      return statx((int)a[0], (const char *)a[1], (int)a[2], (unsigned int)a[3], (struct statx *)a[4]);
    case SYS_readlinkat:
      return readlinkat((int)a[0], (const char *)a[1], (char *)a[2], (size_t)a[3]);
    case SYS_close:
      return close((int)a[0]);
    case SYS_ioctl:
      return call_ioctl((int)a[0], (unsigned long)a[1], (uintptr_t)a[2]);
    case SYS_read:
      return read((int)a[0], (void *)a[1], (size_t)a[2]);
    case SYS_write:
      return write((int)a[0], (const void *)a[1], (size_t)a[2]);
    case SYS_pread64:
      return pread((int)a[0], (void *)a[1], (size_t)a[2], a[3]);
    case SYS_pwrite64:
      return pwrite((int)a[0], (const void *)a[1], (size_t)a[2], a[3]);
    case SYS_mmap:
      return (long)mmap((void *)a[0], (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
    case SYS_munmap:
      return munmap((void *)a[0], (size_t)a[1]);
    case SYS_dup:
      return dup((int)a[0]);
#ifdef SYS_dup2
    case SYS_dup2:
      return dup2((int)a[0], (int)a[1]);
#endif
    case SYS_dup3:
      return dup3((int)a[0], (int)a[1], (int)a[2]);
    case SYS_fcntl:
      return fcntl((int)a[0], (int)a[1], (void *)a[2]);
    default:
      return mark_new(number, real()->syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]));
  }
}
