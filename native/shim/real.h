// The calls as they are without the shim: those of the library behind it.
#ifndef IOMMUFD_SHIM_REAL_H
#define IOMMUFD_SHIM_REAL_H

#include "shim.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

typedef int scan_call(const char *, struct dirent ***, int (*)(const struct dirent *),
                      int (*)(const struct dirent **, const struct dirent **));
typedef int scan64_call(const char *, struct dirent64 ***, int (*)(const struct dirent64 *),
                        int (*)(const struct dirent64 **, const struct dirent64 **));

// The same numbers on all processors; older headers lack them.
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
// It came late there, and kernels may lack it.
#if !defined(SYS_newfstatat) || defined(__loongarch__)
#define STATUS_BY_LIBRARY
#endif

// All of them are found at once: dlsym waits for whoever loads a library, who may wait for a thread that calls.
struct real_calls {
  int (*openat)(int, const char *, int, ...);
  int (*close)(int);
  int (*ioctl)(int, unsigned long, ...);
  ssize_t (*read)(int, void *, size_t);
  ssize_t (*write)(int, const void *, size_t);
  ssize_t (*pread)(int, void *, size_t, off_t);
  ssize_t (*pwrite)(int, const void *, size_t, off_t);
  ssize_t (*readv)(int, const struct iovec *, int);
  ssize_t (*writev)(int, const struct iovec *, int);
  ssize_t (*preadv)(int, const struct iovec *, int, off_t);
  ssize_t (*pwritev)(int, const struct iovec *, int, off_t);
  ssize_t (*preadv2)(int, const struct iovec *, int, off_t, int);
  ssize_t (*pwritev2)(int, const struct iovec *, int, off_t, int);
  void *(*mmap)(void *, size_t, int, int, int, off_t);
  int (*munmap)(void *, size_t);
  void *(*mremap)(void *, size_t, size_t, int, ...);
  int (*madvise)(void *, size_t, int);
  int (*dup)(int);
  int (*dup2)(int, int);
  int (*dup3)(int, int, int);
  int (*fcntl)(int, int, ...);
  ssize_t (*recvmsg)(int, struct msghdr *, int);
  int (*recvmmsg)(int, struct mmsghdr *, unsigned int, int, struct timespec *);
#ifdef STATUS_BY_LIBRARY
  int (*fstatat)(int, const char *, struct stat *, int);
#endif
  int (*faccessat)(int, const char *, int, int);
  char *(*realpath)(const char *, char *);
  DIR *(*opendir)(const char *);
  scan_call *scandir;
  scan64_call *scandir64;
  FILE *(*fopen)(const char *, const char *);
  FILE *(*fopen64)(const char *, const char *);
  int (*execvp)(const char *, char *const[]);
  int (*execvpe)(const char *, char *const[], char *const[]);
  int (*fexecve)(int, char *const[], char *const[]);
  long (*syscall)(long, ...);
};

extern struct real_calls real_found;
void real_find(void);

// Other libraries' constructors may call before the shim's own.
static inline const struct real_calls *real(void) {
  if (real_found.syscall == NULL) real_find();
  return &real_found;
}

// What `call` is for programs that use other names of it: calls.c.
int64_t call_open(int folder, const char *path, int flags, unsigned int mode);
int64_t call_openat2(int folder, const char *path, const void *how, size_t size);
int64_t call_ioctl(int fd, unsigned long command, uintptr_t argument);

#endif
