// What is pinned of a program shows where Linux would show it: VmPin and VmLck of /proc/PID/status, by fopen and by open.
#include "program.h"

enum { LENGTH = 5 * 4096, KIB = LENGTH / 1024 };

// A line's number; -1 where there is no such line.
static long number_of(const char *text, const char *name) {
  const char *line = strstr(text, name);
  return line == NULL ? -1 : strtol(line + strlen(name), NULL, 10);
}
static long by_stream(const char *path, const char *name) {
  char text[8192] = "";
  FILE *file = fopen(path, "r");
  CHECK(file != NULL);
  CHECK(fread(text, 1, sizeof(text) - 1, file) > 0);
  CHECK(fclose(file) == 0);
  return number_of(text, name);
}
static long by_fd(const char *path, const char *name) {
  char text[8192] = "";
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
  CHECK(read(fd, text, sizeof(text) - 1) > 0);
  CHECK(close(fd) == 0);
  return number_of(text, name);
}
static void expect(const char *path, long pinned) {
  CHECK(by_stream(path, "VmPin:") == pinned);
  CHECK(by_fd(path, "VmPin:") == pinned);
  // All the rest is as it is.
  CHECK(by_stream(path, "Pid:") == by_fd(path, "Pid:"));
}

int main(void) {
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd device = {.size = sizeof(device), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &device) == 0);
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/status", (int)getpid());
  expect(path, 0);
  char *own = memory(LENGTH);
  const uint64_t iova = map(fd, ioas, own, LENGTH);
  expect(path, KIB);
  expect("/proc/self/status", KIB);
  CHECK(by_stream("/proc/self/status", "VmLck:") == 0);

  const pid_t child = fork();
  if (child == 0) {
    // What the parent mapped is the parent's.
    expect("/proc/self/status", 0);
    expect(path, KIB);
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);

  struct ioas_unmap unmap = {.size = sizeof(unmap), .ioas = ioas, .iova = iova, .length = LENGTH};
  CHECK(ioctl(fd, IOAS_UNMAP, &unmap) == 0);
  expect(path, 0);
  CHECK(fopen("/proc/0/status", "r") == NULL && errno == ENOENT);
  puts("shown");
  return 0;
}
