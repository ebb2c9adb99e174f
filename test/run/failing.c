// A program says which allocation of the kernel's is to fail, as with Linux's fault injection.
#include "program.h"

static int set(int file, const char *text) {
  return (int)pwrite(file, text, strlen(text), 0);
}
static void expect(int file, const char *text) {
  char seen[16] = "";
  CHECK(pread(file, seen, sizeof(seen), 0) == (ssize_t)strlen(text));
  CHECK(strcmp(seen, text) == 0);
  CHECK(pread(file, seen, sizeof(seen), (off_t)strlen(text)) == 0);
}

int main(void) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", (int)getpid());
  const int file = open(path, O_RDWR | O_CLOEXEC);
  CHECK(file >= 0);
  const int fd = open_iommu();
  expect(file, "0\n");
  CHECK(set(file, "1") == 1);
  expect(file, "1\n");
  struct ioas_alloc argument = {.size = sizeof(argument)};
  REFUSED(ENOMEM, ioctl(fd, IOAS_ALLOC, &argument));
  expect(file, "0\n");
  const uint32_t ioas = alloc_ioas(fd);

  // The second of two calls' allocations.
  CHECK(set(file, "2\n") == 2);
  CHECK(destroy(fd, alloc_ioas(fd)) == 0);
  expect(file, "1\n");
  REFUSED(ENOMEM, ioctl(fd, IOAS_ALLOC, &argument));
  CHECK(set(file, "1000") == 4);
  expect(file, "1000\n");
  CHECK(set(file, "0") == 1);
  expect(file, "0\n");
  for (int i = 0; i < 3; i++) {
    const char *const wrong[] = {"", "x", "4294967296"};
    REFUSED(EINVAL, set(file, wrong[i]));
  }
  CHECK(destroy(fd, ioas) == 0);
  // Another thread's or process's is not this one.
  CHECK(open("/proc/1/fail-nth/nothing", O_RDWR) == -1);
  puts("failed");
  return 0;
}
