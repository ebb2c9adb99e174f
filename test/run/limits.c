// What a program may do is what it really may: fds as long as there are numbers for them, pinned memory as far as its limit goes,
// which all programs of a user share.
#include "program.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { LIMIT = 16, SOME = 12 };

static void fds(void) {
  const struct rlimit few = {64, 64};
  const int fd = open_iommu();
  CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
  int last = 0, next = 0;
  while ((next = dup(0)) >= 0) last = next;
  REFUSED(EMFILE, open("/dev/iommu", O_RDWR));
  struct fault_alloc fault = {.size = sizeof(fault)};
  REFUSED(EMFILE, ioctl(fd, FAULT_QUEUE_ALLOC, &fault));
  CHECK(alloc_ioas(fd) == 1);
  CHECK(close(last) == 0);
  CHECK(ioctl(fd, FAULT_QUEUE_ALLOC, &fault) == 0 && (int)fault.fd == last);
  for (int i = 0; i < 64; i++) {
    if (i != fd && i != (int)fault.fd && i > 2) close(i);
  }
  CHECK(alloc_ioas(fd) == 3);
  // It closes what it does not know, and there is no number left for another connection.
  for (int i = 3; i < 1024; i++) {
    if (i != fd && i != (int)fault.fd) close(i);
  }
  while ((next = dup(0)) >= 0) last = next;
  struct ioas_alloc argument = {.size = sizeof(argument)};
  REFUSED(EMFILE, ioctl(fd, IOAS_ALLOC, &argument));
  CHECK(close(last) == 0);
  CHECK(alloc_ioas(fd) == 4);
  CHECK(close((int)fault.fd) == 0 && close(fd) == 0);
}

static int pin(int fd, uint32_t ioas, const char *at, uint64_t iova) {
  return map_at(fd, ioas, at, SOME * 4096, iova);
}
static uint32_t ioas_with_domain(int fd) {
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
  return ioas;
}

static void memory_limit(void) {
  const struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const struct __user_cap_data_struct none[2] = {0};
  const struct rlimit few = {LIMIT * 4096, LIMIT * 4096};
  CHECK(syscall(SYS_capset, &header, none) == 0);
  CHECK(setrlimit(RLIMIT_MEMLOCK, &few) == 0);
  const int fd = open_iommu();
  const uint32_t ioas = ioas_with_domain(fd);
  char *at = memory(SOME * 4096);
  CHECK(pin(fd, ioas, at, 0x2000000) == 0);
  REFUSED(ENOMEM, pin(fd, ioas, at, 0x3000000));
  for (int round = 0; round < 2; round++) {
    const pid_t child = fork();
    if (child == 0) {
      const int own = open_iommu();
      const uint32_t other = ioas_with_domain(own);
      const int result = pin(own, other, at, 0x2000000);
      _exit(result == 0 ? 1 : errno == ENOMEM ? 2 : 3);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == (round == 0 ? 2 : 1));
    struct ioas_unmap unmap = {.size = sizeof(unmap), .ioas = ioas, .iova = 0x2000000, .length = SOME * 4096};
    if (round == 0) CHECK(ioctl(fd, IOAS_UNMAP, &unmap) == 0);
  }
  CHECK(pin(fd, ioas, at, 0x2000000) == 0);
}

int main(void) {
  fds();
  memory_limit();
  puts("limited");
  return 0;
}
