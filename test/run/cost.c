// What calls cost: prints nanoseconds for each of some calls, in a line with its name. Run with and without the shim.
#include "program.h"

#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

// The best of some tries: others use this machine too.
#define MEASURE(name, times, ...)                                   \
  do {                                                              \
    double best = 1e18;                                             \
    for (int try = 0; try < 7; try++) {                             \
      const double from = now();                                    \
      for (int i = 0; i < (times); i++) __VA_ARGS__;                \
      const double each = (now() - from) / (times);                 \
      if (each < best) best = each;                                 \
    }                                                               \
    printf("%s %.0f\n", name, best);                                \
  } while (0)

static void own_calls(void) {
  int ends[2];
  char byte = 'x';
  CHECK(pipe(ends) == 0);
  MEASURE("pipe", 100000, {
    CHECK(write(ends[1], &byte, 1) == 1);
    CHECK(read(ends[0], &byte, 1) == 1);
  });
  const int null = open("/dev/null", O_RDWR);
  MEASURE("ioctl", 200000, ioctl(null, DESTROY, &byte));
  MEASURE("open", 20000, CHECK(close(open("/dev/null", O_RDWR)) == 0));
}

static void emulated_calls(void) {
  const int fd = open("/dev/iommu", O_RDWR);
  if (fd < 0) return;
  char *at = memory(4096);
  const uint32_t ioas = alloc_ioas(fd);
  MEASURE("emulated-refused", 2000, ioctl(fd, 0x3bff, at));
  MEASURE("emulated-alloc-destroy", 1000, CHECK(destroy(fd, alloc_ioas(fd)) == 0));
  MEASURE("emulated-map-unmap", 1000, {
    struct ioas_unmap unmap = {.size = sizeof(unmap), .ioas = ioas, .iova = map(fd, ioas, at, 4096), .length = 4096};
    CHECK(ioctl(fd, IOAS_UNMAP, &unmap) == 0);
  });
  MEASURE("emulated-open-close", 500, CHECK(close(open("/dev/iommu", O_RDWR)) == 0));
}

int main(void) {
  own_calls();
  emulated_calls();
  return 0;
}
