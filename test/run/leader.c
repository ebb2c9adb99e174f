// A process goes on when its first thread ended: its calls are carried out, on its memory and its files.
#include "program.h"

#include <pthread.h>

static int known, file;

static void is_gone(pid_t first) {
  char path[64], state[512] = "";
  snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", getpid(), first);
  while (strstr(state, ") Z ") == NULL) {
    const int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, state, sizeof(state) - 1) > 0 && close(fd) == 0);
  }
}
static void map_file(int fd, uint32_t ioas) {
  struct ioas_map_file mapping = {
      .size = sizeof(mapping), .flags = READABLE | WRITABLE, .ioas = ioas, .fd = file, .length = 4096};
  CHECK(ioctl(fd, IOAS_MAP_FILE, &mapping) == 0);
}
static void *go_on(void *unused) {
  (void)unused;
  is_gone(getpid());
  char *at = memory(4096);
  if (known == 0) known = open_iommu();
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
  (void)arguments;
  file = memfd_create("memory", 0);
  CHECK(file >= 0 && ftruncate(file, 4096) == 0);
  // With an argument it has a connection by then.
  if (count > 1) known = open_iommu();
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, go_on, NULL) == 0);
  pthread_exit(NULL);
}
