// What the test programs share: the numbers and structs of the calls that they make (newer than most systems' headers), and
// checks that end the program with the line that failed.
#ifndef IOMMUFD_TEST_PROGRAM_H
#define IOMMUFD_TEST_PROGRAM_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  DESTROY = 0x3b80,
  IOAS_ALLOC = 0x3b81,
  IOAS_COPY = 0x3b83,
  IOAS_MAP = 0x3b85,
  IOAS_UNMAP = 0x3b86,
  HWPT_ALLOC = 0x3b89,
  FAULT_QUEUE_ALLOC = 0x3b8e,
  VIOMMU_ALLOC = 0x3b90,
  VDEVICE_ALLOC = 0x3b91,
  VEVENTQ_ALLOC = 0x3b93,
  HW_QUEUE_ALLOC = 0x3b94,
  TEST_CMD = 0x3ba0,
  IOAS_MAP_FILE = 0x3b8f,
};

struct destroy { uint32_t size, id; };
struct ioas_alloc { uint32_t size, flags, id; };
struct ioas_map { uint32_t size, flags, ioas, reserved; uint64_t address, length, iova; };
struct ioas_map_file { uint32_t size, flags, ioas; int32_t fd; uint64_t start, length, iova; };
struct ioas_copy { uint32_t size, flags, to, from; uint64_t length, to_iova, from_iova; };
struct ioas_unmap { uint32_t size, ioas; uint64_t iova, length; };
struct hwpt_alloc {
  uint32_t size, flags, device, parent, id, reserved, data_type, data_length;
  uint64_t data;
  uint32_t fault, reserved2;
};
struct fault_alloc { uint32_t size, flags, id, fd; };
struct viommu_alloc { uint32_t size, flags, type, device, hwpt, id, data_length, reserved; uint64_t data; };
struct vdevice_alloc { uint32_t size, viommu, device, id; uint64_t virtual_id; };
struct veventq_alloc { uint32_t size, flags, viommu, type, depth, id, fd, reserved; };
struct hw_queue_alloc { uint32_t size, flags, viommu, type, index, id; uint64_t iova, length; };
// IOMMU_TEST_CMD: what follows depends on the operation.
struct test_cmd {
  uint32_t size, operation, id, reserved;
  union { uint32_t u32[12]; uint64_t u64[6]; } args;
  uint32_t last;
};
enum { MOCK_DOMAIN = 2, CHECK_MAP = 3, CREATE_ACCESS = 5, ACCESS_RW = 8, MOCK_DOMAIN_FLAGS = 12, TRIGGER_VEVENT = 17 };

enum { READABLE = 4, WRITABLE = 2, FIXED = 1 };

#define CHECK(what)                                                                                   \
  do {                                                                                                \
    errno = 0;                                                                                        \
    if (!(what)) {                                                                                    \
      fprintf(stderr, "%s:%d: %s does not hold (%s)\n", __FILE__, __LINE__, #what, strerror(errno));  \
      _exit(1);                                                                                       \
    }                                                                                                 \
  } while (0)
#define REFUSED(with, what) CHECK((what) == -1 && errno == (with))

static inline int open_iommu(void) {
  const int fd = open("/dev/iommu", O_RDWR);
  CHECK(fd >= 0);
  return fd;
}
static inline uint32_t alloc_ioas(int fd) {
  struct ioas_alloc argument = {.size = sizeof(argument)};
  CHECK(ioctl(fd, IOAS_ALLOC, &argument) == 0);
  CHECK(argument.id != 0);
  return argument.id;
}
static inline int destroy(int fd, uint32_t id) {
  struct destroy argument = {.size = sizeof(argument), .id = id};
  return ioctl(fd, DESTROY, &argument);
}
static inline uint64_t map(int fd, uint32_t ioas, const void *at, size_t length) {
  struct ioas_map argument = {
      .size = sizeof(argument),
      .flags = READABLE | WRITABLE,
      .ioas = ioas,
      .address = (uintptr_t)at,
      .length = length,
  };
  CHECK(ioctl(fd, IOAS_MAP, &argument) == 0);
  return argument.iova;
}
static inline int map_at(int fd, uint32_t ioas, const void *at, size_t length, uint64_t iova) {
  struct ioas_map argument = {
      .size = sizeof(argument),
      .flags = READABLE | WRITABLE | FIXED,
      .ioas = ioas,
      .address = (uintptr_t)at,
      .length = length,
      .iova = iova,
  };
  return ioctl(fd, IOAS_MAP, &argument);
}
static inline char *memory(size_t length) {
  char *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  return at;
}
// An access of the mock's to an IOAS.
static inline int create_access(int fd, uint32_t ioas) {
  struct test_cmd argument = {.size = sizeof(argument), .operation = CREATE_ACCESS, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &argument) == 0);
  return (int)argument.args.u32[0];
}
// Reads through it; writes with `flags` 1.
static inline int access_memory(int fd, int access, uint64_t iova, const void *at, size_t length, uint32_t flags) {
  struct test_cmd argument = {.size = sizeof(argument), .operation = ACCESS_RW, .id = (uint32_t)access};
  argument.args.u64[0] = iova;
  argument.args.u64[1] = length;
  argument.args.u64[2] = (uintptr_t)at;
  argument.args.u32[6] = flags;
  return ioctl(fd, TEST_CMD, &argument);
}

#endif
