// A thread with a table of fds of its own closes what is still open in the others'.
#include "program.h"

#include <pthread.h>
#include <sched.h>

static int fd;

static void *close_own(void *unused) {
  (void)unused;
  CHECK(unshare(CLONE_FILES) == 0);
  CHECK(close(fd) == 0);
  return NULL;
}

int main(void) {
  fd = open_iommu();
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, close_own, NULL) == 0 && pthread_join(thread, NULL) == 0);
  alloc_ioas(fd);
  CHECK(close(fd) == 0);
  REFUSED(EBADF, ioctl(fd, IOAS_ALLOC, NULL));
  puts("open");
  return 0;
}
