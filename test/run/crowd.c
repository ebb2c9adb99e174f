// Programs take all fds that the server may have: calls that need one more are refused, or are not, and the machine goes on. To be
// run with few fds.
#include "program.h"

static void take_all(int told, int wait_on) {
  while (open("/dev/iommu", O_RDWR) >= 0) {
  }
  char byte = 0;
  CHECK(write(told, "x", 1) == 1 && read(wait_on, &byte, 1) == 1);
  _exit(0);
}

int main(void) {
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
  int told[2], wait_on[2];
  CHECK(pipe(told) == 0 && pipe(wait_on) == 0);
  for (int i = 0; i < 2; i++) {
    if (fork() == 0) take_all(told[1], wait_on[0]);
  }
  char bytes[2];
  for (int i = 0; i < 2; i++) CHECK(read(told[0], bytes, 1) == 1);

  void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct ioas_map mapping = {.size = sizeof(mapping), .flags = READABLE | WRITABLE, .ioas = ioas, .address = (uintptr_t)shared, .length = 4096};
  const int result = ioctl(fd, IOAS_MAP, &mapping);
  CHECK(result == 0 || errno != EIO);
  alloc_ioas(fd);

  CHECK(write(wait_on[1], "xx", 2) == 2);
  for (int i = 0; i < 2; i++) CHECK(wait(NULL) > 0);
  map(fd, alloc_ioas(fd), shared, 4096);
  CHECK(close(open_iommu()) == 0);
  puts("crowded");
  return 0;
}
