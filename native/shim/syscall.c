// syscall(2): calls by their number. The `syscall` instruction itself is nothing that a library can see.
#include "real.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SHOWN __attribute__((visibility("default")))

// Only newer headers have them, elsewhere: variants.c, fds.c.
int pidfd_getfd(int process, int fd, unsigned int flags);
int close_range(unsigned int first, unsigned int last, int flags);

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
    case SYS_openat2:
      return call_openat2((int)a[0], (const char *)a[1], (const void *)a[2], (size_t)a[3]);
#ifdef SYS_stat
    case SYS_stat:
      return stat((const char *)a[0], (struct stat *)a[1]);
    case SYS_lstat:
      return lstat((const char *)a[0], (struct stat *)a[1]);
    case SYS_access:
      return access((const char *)a[0], (int)a[1]);
    case SYS_readlink:
      return readlink((const char *)a[0], (char *)a[1], (size_t)a[2]);
#endif
#ifdef SYS_newfstatat
    case SYS_newfstatat:
      return fstatat((int)a[0], (const char *)a[1], (struct stat *)a[2], (int)a[3]);
#endif
    case SYS_faccessat:
      return faccessat((int)a[0], (const char *)a[1], (int)a[2], 0);
#ifdef SYS_faccessat2
    case SYS_faccessat2:
      return faccessat((int)a[0], (const char *)a[1], (int)a[2], (int)a[3]);
#endif
    case SYS_preadv2:
      return preadv2((int)a[0], (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]);
    case SYS_pwritev2:
      return pwritev2((int)a[0], (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]);
    case SYS_recvmmsg:
      return recvmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned int)a[2], (int)a[3], (struct timespec *)a[4]);
    case SYS_execve:
      return execve((const char *)a[0], (char *const *)a[1], (char *const *)a[2]);
    case SYS_exit_group:
      _exit((int)a[0]);
    case SYS_unshare:
      return unshare((int)a[0]);
    case SYS_close_range:
      return close_range((unsigned int)a[0], (unsigned int)a[1], (int)a[2]);
    case SYS_prctl:
      return prctl((int)a[0], a[1], a[2], a[3], a[4]);
    case SYS_seccomp:
      stop_probing();
      return real()->syscall(number, a[0], a[1], a[2]);
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
    case SYS_readv:
      return readv((int)a[0], (const struct iovec *)a[1], (int)a[2]);
    case SYS_writev:
      return writev((int)a[0], (const struct iovec *)a[1], (int)a[2]);
    case SYS_preadv:
      return preadv((int)a[0], (const struct iovec *)a[1], (int)a[2], a[3]);
    case SYS_pwritev:
      return pwritev((int)a[0], (const struct iovec *)a[1], (int)a[2], a[3]);
    case SYS_recvmsg:
      return recvmsg((int)a[0], (struct msghdr *)a[1], (int)a[2]);
    case SYS_pidfd_getfd:
      return pidfd_getfd((int)a[0], (int)a[1], (unsigned int)a[2]);
    case SYS_mremap:
      return (long)mremap((void *)a[0], (size_t)a[1], (size_t)a[2], (int)a[3], (void *)a[4]);
    case SYS_madvise:
      return madvise((void *)a[0], (size_t)a[1], (int)a[2]);
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
      return real()->syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
}
