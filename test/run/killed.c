// Children that are killed in the midst of calls, one after the other.
#include "program.h"

enum { CHILDREN = 12 };

static void live(void) {
  for (;;) {
    const int fd = open_iommu();
    const uint32_t ioas = alloc_ioas(fd);
    struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
    CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
    char *at = memory(8 * 4096);
    map(fd, ioas, at, 8 * 4096);
    struct fault_alloc fault = {.size = sizeof(fault)};
    CHECK(ioctl(fd, FAULT_QUEUE_ALLOC, &fault) == 0);
    CHECK(read((int)fault.fd, at, 40) == 0);
    CHECK(close((int)fault.fd) == 0 && close(fd) == 0);
    CHECK(munmap(at, 8 * 4096) == 0);
  }
}

int main(void) {
  const int kept = open_iommu();
  for (int i = 0; i < CHILDREN; i++) {
    const pid_t child = fork();
    if (child == 0) live();
    usleep(20000 + 3700 * (unsigned int)i);
    CHECK(kill(child, SIGKILL) == 0);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    alloc_ioas(kept);
  }
  puts("survived");
  return 0;
}
