// Registers that are mapped: the doorbell of a guest's command queue, which the hardware executes while the program looks at the
// queue's other registers; and the event of a command that it refuses, which a thread waits for.
#include "vfio.h"

#include <pthread.h>
#include <time.h>

enum { RAM = 1 << 20, IPA = 0x40000000, QUEUE_LENGTH = 64 * 16 };
enum { CMDQV = 2, QUEUE_TYPE = 1, EVENT_TYPE = 2, NEST_PARENT = 1 };
enum { CONS = 0, PROD = 1, CONFIG = 2, STATUS = 3, GERROR = 4, GERRORN = 5 };
enum { SYNC = 0x46, ILLEGAL = 0xff };

static int events;

static void *wait_for_event(void *unused) {
  (void)unused;
  struct pollfd waiting = {.fd = events, .events = POLLIN};
  CHECK(poll(&waiting, 1, 30000) == 1 && waiting.revents == POLLIN);
  return NULL;
}

static void until(volatile uint32_t *reg, uint32_t mask, uint32_t value) {
  for (int i = 0; i < 3000; i++) {
    if ((*reg & mask) == value) return;
    usleep(10000);
  }
  fprintf(stderr, "register %p stays %x\n", (void *)reg, *reg);
  _exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}
static int ascending(const void *left, const void *right) {
  const double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}
// Prints nanoseconds from a doorbell to the queue's answer: the best, and one that half are better than.
static void tell_latency(uint64_t *ram, volatile uint32_t *registers) {
  enum { TIMES = 200 };
  double each[TIMES];
  for (uint32_t i = 0; i < TIMES; i++) {
    const uint32_t at = (6 + i) % 128, next = (at + 1) % 128;
    ram[2 * (at % 64)] = SYNC;
    const double from = now();
    registers[PROD] = next;
    while ((registers[CONS] & 0xfffff) != next) continue;
    each[i] = now() - from;
  }
  qsort(each, TIMES, sizeof(each[0]), ascending);
  printf("%.0f %.0f\n", each[0], each[TIMES / 2]);
}

int main(int count, char **arguments) {
  const int fd = open_iommu();
  const int device = open("/dev/vfio/devices/vfio0", O_RDWR);
  CHECK(device >= 0);
  const uint32_t id = bind_device(device, fd);
  const uint32_t ioas = alloc_ioas(fd);
  uint64_t *ram = (uint64_t *)memory(RAM);
  memset(ram, 0, RAM);
  CHECK(map_at(fd, ioas, ram, RAM, IPA) == 0);
  struct hwpt_alloc parent = {.size = sizeof(parent), .flags = NEST_PARENT, .device = id, .parent = ioas};
  CHECK(ioctl(fd, HWPT_ALLOC, &parent) == 0);
  struct { uint64_t offset, length; } page = {0, 0};
  struct viommu_alloc viommu = {
      .size = sizeof(viommu), .type = CMDQV, .device = id, .hwpt = parent.id, .data_length = sizeof(page), .data = (uintptr_t)&page};
  CHECK(ioctl(fd, VIOMMU_ALLOC, &viommu) == 0);
  struct vdevice_alloc vdevice = {.size = sizeof(vdevice), .viommu = viommu.id, .device = id, .virtual_id = 7};
  CHECK(ioctl(fd, VDEVICE_ALLOC, &vdevice) == 0);
  struct veventq_alloc queue = {.size = sizeof(queue), .viommu = viommu.id, .type = EVENT_TYPE, .depth = 8};
  CHECK(ioctl(fd, VEVENTQ_ALLOC, &queue) == 0);
  events = (int)queue.fd;
  struct hw_queue_alloc hw = {
      .size = sizeof(hw), .viommu = viommu.id, .type = QUEUE_TYPE, .iova = IPA, .length = QUEUE_LENGTH};
  CHECK(ioctl(fd, HW_QUEUE_ALLOC, &hw) == 0);

  CHECK(page.length > 0);
  const off_t offset = (off_t)page.offset;
  CHECK(mmap(NULL, page.length, PROT_READ, MAP_PRIVATE, fd, offset) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(NULL, page.length, PROT_READ | PROT_EXEC, MAP_SHARED, fd, offset) == MAP_FAILED && errno == EPERM);
  CHECK(mmap(NULL, page.length * 2, PROT_READ, MAP_SHARED, fd, offset) == MAP_FAILED && errno == ENXIO);
  void *mapped = mmap(NULL, page.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  CHECK(mapped != MAP_FAILED);
  volatile uint32_t *registers = mapped;

  registers[CONFIG] = 1;
  until(&registers[STATUS], 1, 1);
  for (int i = 0; i < 3; i++) ram[2 * i] = SYNC;
  registers[PROD] = 3;
  until(&registers[CONS], 0xfffff, 3);

  // What was written before a call counts in it, and what it did shows after it.
  ram[2 * 3] = SYNC;
  // Until nobody looks all the time.
  usleep(100000);
  registers[PROD] = 4;
  REFUSED(ENOENT, destroy(fd, 999));
  CHECK((registers[CONS] & 0xfffff) == 4);

  pthread_t waiter;
  CHECK(pthread_create(&waiter, NULL, wait_for_event, NULL) == 0);
  ram[2 * 4] = ILLEGAL;
  registers[PROD] = 5;
  until(&registers[GERROR], 1, 1);
  CHECK((registers[CONS] >> 24) == 1);
  CHECK(pthread_join(waiter, NULL) == 0);
  char record[256];
  CHECK(read(events, record, sizeof(record)) > 0);
  CHECK(poll(&(struct pollfd){.fd = events, .events = POLLIN}, 1, 0) == 0);
  CHECK(read(events, record, sizeof(record)) == 0);
  ram[2 * 4] = SYNC;
  registers[GERRORN] = registers[GERROR];
  until(&registers[CONS], 0xfffff, 5);

  // A child has them too, and they stay when the parent's are gone.
  const pid_t child = fork();
  if (child == 0) {
    CHECK(munmap(mapped, page.length) == 0);
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  ram[2 * 5] = SYNC;
  registers[PROD] = 6;
  until(&registers[CONS], 0xfffff, 6);

  // While they are mapped, what they belong to stays.
  REFUSED(EBUSY, destroy(fd, viommu.id));
  if (count > 1 && strcmp(arguments[1], "latency") == 0) {
    tell_latency(ram, registers);
    return 0;
  }
  CHECK(munmap(mapped, page.length) == 0);
  CHECK(destroy(fd, hw.id) == 0);
  CHECK(close(events) == 0);
  CHECK(destroy(fd, queue.id) == 0);
  CHECK(destroy(fd, vdevice.id) == 0);
  CHECK(destroy(fd, viommu.id) == 0);
  puts("rung");
  return 0;
}
