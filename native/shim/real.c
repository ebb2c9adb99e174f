// Finds the calls as they are without the shim, and lets it start before the program does.
#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>

struct real_calls real_found;

void real_find(void) {
  // ISO C has no cast from an object's pointer to a function's: POSIX has dlsym so.
#define FIND(name) *(void **)&real_found.name = dlsym(RTLD_NEXT, #name)
  FIND(openat);
  FIND(close);
  FIND(ioctl);
  FIND(read);
  FIND(write);
  FIND(pread);
  FIND(pwrite);
  FIND(readv);
  FIND(writev);
  FIND(preadv);
  FIND(pwritev);
  FIND(preadv2);
  FIND(pwritev2);
  FIND(mmap);
  FIND(munmap);
  FIND(mremap);
  FIND(madvise);
  FIND(dup);
  FIND(dup2);
  FIND(dup3);
  FIND(fcntl);
  FIND(recvmsg);
  FIND(recvmmsg);
#ifdef STATUS_BY_LIBRARY
  FIND(fstatat);
#endif
  FIND(faccessat);
  FIND(realpath);
  FIND(opendir);
  FIND(scandir);
  FIND(scandir64);
  FIND(fopen);
  FIND(fopen64);
  FIND(execvp);
  FIND(execvpe);
  FIND(fexecve);
  FIND(syscall);
#undef FIND
}

long raw(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  return real()->syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

__attribute__((constructor)) static void start(void) {
  const int before = errno;
  real();
  link_start();
  if (server_path[0] != '\0') {
    pages_start();
    mark_inherited();
  }
  errno = before;
}
