// Threads with tables of fds of their own: one closes what is still open in the others', and none leaves connections in its own.
#include "program.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>

enum { CALLS = 50 };
static int fd, way;

static void leave_table(void) {
  if (way == 0) CHECK(unshare(CLONE_FILES) == 0);
  if (way == 1) CHECK(syscall(SYS_unshare, CLONE_FILES) == 0);
  // CLOSE_RANGE_UNSHARE: 436, as older headers have no name for.
  if (way == 2) CHECK(syscall(436, 60000, 61000, 2) == 0);
}
static void *close_own(void *unused) {
  (void)unused;
  leave_table();
  CHECK(close(fd) == 0);
  return NULL;
}
static void is_open(void) {
  fd = open_iommu();
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, close_own, NULL) == 0 && pthread_join(thread, NULL) == 0);
  alloc_ioas(fd);
  CHECK(close(fd) == 0);
  REFUSED(EBADF, ioctl(fd, IOAS_ALLOC, NULL));
}

static int count_fds(void) {
  DIR *folder = opendir("/proc/thread-self/fd");
  CHECK(folder != NULL);
  int count = 0;
  while (readdir(folder) != NULL) count++;
  CHECK(closedir(folder) == 0);
  return count;
}
static pthread_barrier_t turn;
static void call_in_turn(bool other) {
  const int own = open_iommu();
  int before = 0;
  for (int i = 0; i < CALLS; i++) {
    if (!other) CHECK(destroy(own, alloc_ioas(own)) == 0);
    pthread_barrier_wait(&turn);
    if (other) CHECK(destroy(own, alloc_ioas(own)) == 0);
    pthread_barrier_wait(&turn);
    if (i == 2) before = count_fds();
  }
  CHECK(count_fds() == before);
  CHECK(close(own) == 0);
}
static void *call_apart(void *unused) {
  (void)unused;
  CHECK(unshare(CLONE_FILES) == 0);
  call_in_turn(true);
  return NULL;
}

int main(void) {
  for (way = 0; way < 3; way++) is_open();
  pthread_t thread;
  CHECK(pthread_barrier_init(&turn, NULL, 2) == 0);
  CHECK(pthread_create(&thread, NULL, call_apart, NULL) == 0);
  call_in_turn(false);
  CHECK(pthread_join(thread, NULL) == 0);
  puts("open");
  return 0;
}
