// The same work as the benchmarks', in C: what the kernel and the processor cost without Node.
//
//   c-loops LOOP [NUMBER...]
//
// Reads how many iterations to make, makes them, prints nanoseconds per iteration, and reads on until the input ends.
// Loops over an iommufd find it open as fd 3: the benchmark that starts them shares its own.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { IOMMUFD = 3 };

// linux/iommufd.h is younger than many systems' headers.
enum { DESTROY = 0x3b80, IOAS_ALLOC = 0x3b81, IOAS_MAP = 0x3b85, IOAS_UNMAP = 0x3b86, INVALIDATE = 0x3b8d, IOAS_MAP_FILE = 0x3b8f };
enum { FIXED_READ_WRITE = 7 };

struct destroy { uint32_t size, id; };
struct ioas_alloc { uint32_t size, flags, out_ioas_id; };
struct map { uint32_t size, flags, ioas_id, reserved; uint64_t user_va, length, iova; };
struct map_file { uint32_t size, flags, ioas_id; int32_t fd; uint64_t start, length, iova; };
struct unmap { uint32_t size, ioas_id; uint64_t iova, length; };
struct invalidate { uint32_t size, hwpt_id; uint64_t data; uint32_t type, entry_length, entries, reserved; };

static uint64_t numbers[4];

static void check(int result, const char* what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void refusedIoctl(uint64_t iterations) {
  static int fd = -1;
  static char argument[64];
  if (fd < 0) check(fd = open("/dev/null", O_RDWR | O_CLOEXEC), "open");
  for (uint64_t i = 0; i < iterations; i++) {
    if (ioctl(fd, IOAS_MAP, argument) != -1) abort();
  }
}

static _Alignas(4096) volatile uint8_t memory[4096];

static void read32(uint64_t iterations) {
  for (uint64_t i = 0; i < iterations; i++) (void)*(volatile uint32_t*)(memory + ((i & 63) << 2));
}
static void write32(uint64_t iterations) {
  for (uint64_t i = 0; i < iterations; i++) *(volatile uint32_t*)(memory + ((i & 63) << 2)) = i;
}
static void read64(uint64_t iterations) {
  for (uint64_t i = 0; i < iterations; i++) (void)*(volatile uint64_t*)(memory + ((i & 63) << 3));
}
static void write64(uint64_t iterations) {
  for (uint64_t i = 0; i < iterations; i++) *(volatile uint64_t*)(memory + ((i & 63) << 3)) = i;
}

// NUMBERs: the IOAS, the IOVA, bytes.
static void unmapAgain(void) {
  struct unmap unmap = {.size = sizeof unmap, .ioas_id = numbers[0], .iova = numbers[1], .length = numbers[2]};
  check(ioctl(IOMMUFD, IOAS_UNMAP, &unmap), "IOMMU_IOAS_UNMAP");
}

static void mapAddress(uint64_t iterations) {
  static void* bytes;
  const uint64_t length = numbers[2];
  if (!bytes) bytes = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) check(-1, "mmap");
  for (uint64_t i = 0; i < iterations; i++) {
    struct map map = {.size = sizeof map, .flags = FIXED_READ_WRITE, .ioas_id = numbers[0], .user_va = (uintptr_t)bytes,
                      .length = length, .iova = numbers[1]};
    check(ioctl(IOMMUFD, IOAS_MAP, &map), "IOMMU_IOAS_MAP");
    unmapAgain();
  }
}

static void mapFile(uint64_t iterations) {
  static int fd = -1;
  const uint64_t length = numbers[2];
  if (fd < 0) {
    check(fd = memfd_create("c-loops", MFD_CLOEXEC), "memfd_create");
    check(ftruncate(fd, length), "ftruncate");
  }
  for (uint64_t i = 0; i < iterations; i++) {
    struct map_file map = {.size = sizeof map, .flags = FIXED_READ_WRITE, .ioas_id = numbers[0], .fd = fd,
                           .length = length, .iova = numbers[1]};
    check(ioctl(IOMMUFD, IOAS_MAP_FILE, &map), "IOMMU_IOAS_MAP_FILE");
    unmapAgain();
  }
}

static void allocIoas(uint64_t iterations) {
  for (uint64_t i = 0; i < iterations; i++) {
    struct ioas_alloc alloc = {.size = sizeof alloc};
    check(ioctl(IOMMUFD, IOAS_ALLOC, &alloc), "IOMMU_IOAS_ALLOC");
    struct destroy destroy = {.size = sizeof destroy, .id = alloc.out_ioas_id};
    check(ioctl(IOMMUFD, DESTROY, &destroy), "IOMMU_DESTROY");
  }
}

// NUMBERs: the page table, the type of the data, bytes of an entry, entries. Each entry is all zeros.
static void invalidate(uint64_t iterations) {
  static void* entries;
  if (!entries) entries = calloc(numbers[3], numbers[2]);
  for (uint64_t i = 0; i < iterations; i++) {
    struct invalidate request = {.size = sizeof request, .hwpt_id = numbers[0], .data = (uintptr_t)entries,
                                 .type = numbers[1], .entry_length = numbers[2], .entries = numbers[3]};
    check(ioctl(IOMMUFD, INVALIDATE, &request), "IOMMU_HWPT_INVALIDATE");
  }
}

static const struct { const char* name; void (*run)(uint64_t); } loops[] = {
    {"refused-ioctl", refusedIoctl}, {"read32", read32},         {"write32", write32},
    {"read64", read64},              {"write64", write64},       {"map-address", mapAddress},
    {"map-file", mapFile},           {"alloc-ioas", allocIoas},  {"invalidate", invalidate},
};

static void serve(void (*run)(uint64_t)) {
  unsigned long iterations;
  while (scanf("%lu", &iterations) == 1) {
    const uint64_t begin = now();
    run(iterations);
    printf("%.3f\n", (double)(now() - begin) / iterations);
    fflush(stdout);
  }
}

int main(int count, char** arguments) {
  for (int i = 2; i < count && i < 6; i++) numbers[i - 2] = strtoull(arguments[i], NULL, 10);
  for (size_t i = 0; count > 1 && i < sizeof loops / sizeof *loops; i++) {
    if (strcmp(loops[i].name, arguments[1]) != 0) continue;
    serve(loops[i].run);
    return 0;
  }
  fprintf(stderr, "c-loops LOOP [NUMBER...]\n");
  return 2;
}
