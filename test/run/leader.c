// A process goes on when one of its threads ended, also the first one, or the one that called first: its calls are carried out, on
// its memory and its files. The argument says which one ends when.
#include "program.h"

#include <pthread.h>
#include <stdbool.h>

static pthread_t threads[2];
static bool leaves, calls_first;
static int known = -1, file;

static void wait_for_end(pid_t thread) {
  char path[64], state[512];
  snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", getpid(), thread);
  for (;;) {
    memset(state, 0, sizeof(state));
    const int fd = open(path, O_RDONLY);
    if (fd < 0) return;
    const ssize_t length = read(fd, state, sizeof(state) - 1);
    CHECK(close(fd) == 0);
    if (length <= 0 || strstr(state, ") Z ") != NULL) return;
  }
}
static void map_file(int fd, uint32_t ioas) {
  struct ioas_map_file mapping = {
      .size = sizeof(mapping), .flags = READABLE | WRITABLE, .ioas = ioas, .fd = file, .length = 4096};
  CHECK(ioctl(fd, IOAS_MAP_FILE, &mapping) == 0);
}

static pid_t caller;
static void *call_first(void *unused) {
  (void)unused;
  if (leaves) wait_for_end(getpid());
  known = open_iommu();
  alloc_ioas(known);
  caller = gettid();
  return NULL;
}
static void *go_on(void *unused) {
  (void)unused;
  if (calls_first) {
    CHECK(pthread_join(threads[0], NULL) == 0);
    wait_for_end(caller);
  }
  if (leaves) wait_for_end(getpid());
  char *at = memory(4096);
  if (known < 0) known = open_iommu();
  map(known, alloc_ioas(known), at, 4096);
  map_file(known, alloc_ioas(known));
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  const uint64_t iova = map(fd, ioas, at, 4096);
  const int access_file = create_access(fd, ioas);
  CHECK(access_memory(fd, access_file, iova, "dev", 4, 1) == 0 && strcmp(at, "dev") == 0);
  CHECK(close(access_file) == 0);
  puts("went on");
  exit(0);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  file = memfd_create("memory", 0);
  CHECK(file >= 0 && ftruncate(file, 4096) == 0);
  leaves = strcmp(arguments[1], "a worker") != 0;
  calls_first = strcmp(arguments[1], "a worker") == 0 || strcmp(arguments[1], "both") == 0;
  if (strcmp(arguments[1], "the first, which called") == 0) known = open_iommu();
  if (calls_first) CHECK(pthread_create(&threads[0], NULL, call_first, NULL) == 0);
  CHECK(pthread_create(&threads[1], NULL, go_on, NULL) == 0);
  if (leaves) pthread_exit(NULL);
  CHECK(pthread_join(threads[1], NULL) == 0);
  return 1;
}
