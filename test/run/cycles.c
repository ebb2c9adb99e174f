// The same again and again, for the given number of times: prints how many pages it has after each third.
#include "program.h"

static long resident(void) {
  long all = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL && fscanf(file, "%ld %ld", &all, &pages) == 2);
  fclose(file);
  return pages;
}

static void cycle(char *at) {
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  const uint64_t iova = map(fd, ioas, at, 4 * 4096);
  const int access = create_access(fd, ioas);
  CHECK(access_memory(fd, access, iova, "cycle", 6, 1) == 0);
  CHECK(strcmp(at, "cycle") == 0);
  const int copy = dup(fd);
  CHECK(close(access) == 0 && close(fd) == 0);
  CHECK(destroy(copy, ioas) == 0);
  CHECK(close(copy) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const int own = open_iommu();
    _exit(own >= 0 && alloc_ioas(own) == 1 ? 0 : 1);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int count, char **arguments) {
  const int times = count > 1 ? atoi(arguments[1]) : 3;
  char *at = memory(4 * 4096);
  for (int third = 0; third < 3; third++) {
    for (int i = 0; i < times / 3; i++) cycle(at);
    printf("%ld\n", resident());
  }
  return 0;
}
