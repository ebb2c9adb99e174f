// Registers that are mapped: what is unmapped lets go of them, by any length that is the same pages, and wherever they were moved
// to; and signal handlers may map and unmap memory while the program does.
#include "program.h"

#include <sys/time.h>

struct page { uint32_t in, out; uint64_t offset, length; };
enum { SIGNALS = 200 };

static int fd;
static uint32_t device, parent_id;

static void *map_registers(uint32_t *viommu_id, struct page *page) {
  struct viommu_alloc viommu = {
      .size = sizeof(viommu),
      .type = 0xdeadbeef,
      .device = device,
      .hwpt = parent_id,
      .data_length = sizeof(*page),
      .data = (uintptr_t)page,
  };
  CHECK(ioctl(fd, VIOMMU_ALLOC, &viommu) == 0);
  *viommu_id = viommu.id;
  char *at = mmap(NULL, page->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)page->offset);
  CHECK(at != MAP_FAILED);
  REFUSED(EBUSY, destroy(fd, viommu.id));
  return at;
}
static void is_let_go(uint32_t viommu) {
  CHECK(destroy(fd, viommu) == 0);
}

static volatile int signals;
static void handle(int number) {
  (void)number;
  munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
  signals++;
}
static void in_signals(void) {
  struct sigaction action = {.sa_handler = handle};
  struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
  while (signals < SIGNALS) {
    CHECK(munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096) == 0);
  }
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

int main(void) {
  fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
  device = domain.args.u32[2];
  struct hwpt_alloc parent = {.size = sizeof(parent), .flags = 1, .device = device, .parent = ioas};
  CHECK(ioctl(fd, HWPT_ALLOC, &parent) == 0);
  parent_id = parent.id;
  uint32_t viommu = 0;
  struct page page = {0};

  void *at = map_registers(&viommu, &page);
  CHECK(munmap(at, page.length - 96) == 0);
  is_let_go(viommu);

  at = map_registers(&viommu, &page);
  void *to = mmap(NULL, page.length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(mremap(at, page.length, page.length, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
  REFUSED(EBUSY, destroy(fd, viommu));
  CHECK(munmap(to, page.length) == 0);
  is_let_go(viommu);

  at = map_registers(&viommu, &page);
  in_signals();
  CHECK(munmap(at, page.length) == 0);
  is_let_go(viommu);
  puts("let go");
  return 0;
}
