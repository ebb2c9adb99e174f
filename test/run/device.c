// A VFIO device: bound, its regions and configuration space, DMA to the program's memory, interrupts that it waits for with
// epoll, and a legacy interrupt that an eventfd of the program's unmasks.
#include "vfio.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { STATUS = 0x08, CAUSE = 0x0c, IOVA = 0x10, OFFSET = 0x18, LENGTH = 0x1c, COMMAND = 0x24, VECTOR = 0x28, RAISE = 0x2c };
enum { TO_MEMORY = 1, FROM_MEMORY = 2, BYTES = 6000 };

static int device;
static uint64_t registers;

static void put(uint32_t at, uint32_t value) {
  CHECK(pwrite(device, &value, 4, (off_t)(registers + at)) == 4);
}
static uint32_t get(uint32_t at) {
  uint32_t value = 0;
  CHECK(pread(device, &value, 4, (off_t)(registers + at)) == 4);
  return value;
}
static struct region_info region(uint32_t index) {
  struct region_info info = {.argsz = sizeof(info), .index = index};
  CHECK(ioctl(device, GET_REGION_INFO, &info) == 0);
  return info;
}
static int set_irq(uint32_t index, uint32_t start, uint32_t action, int fd) {
  struct irq_set set = {
      .argsz = sizeof(set), .flags = FROM_EVENTFD | action, .index = index, .start = start, .count = 1, .fd = fd};
  return ioctl(device, SET_IRQS, &set);
}
static void transfer(uint64_t iova, uint32_t length, uint32_t command) {
  put(IOVA, (uint32_t)iova);
  put(IOVA + 4, (uint32_t)(iova >> 32));
  put(OFFSET, 0);
  put(LENGTH, length);
  put(COMMAND, command);
}
static void wait_for(int queue, int event) {
  struct epoll_event ready;
  CHECK(epoll_wait(queue, &ready, 1, 30000) == 1 && ready.data.fd == event);
  uint64_t times = 0;
  CHECK(read(event, &times, sizeof(times)) == sizeof(times) && times == 1);
}
static int waited(int queue) {
  const int event = eventfd(0, 0);
  struct epoll_event interest = {.events = EPOLLIN, .data.fd = event};
  CHECK(epoll_ctl(queue, EPOLL_CTL_ADD, event, &interest) == 0);
  return event;
}

int main(void) {
  const int fd = open_iommu();
  CHECK((device = open("/dev/vfio/devices/vfio0", O_RDWR)) >= 0);
  struct device_info info = {.argsz = sizeof(info)};
  REFUSED(EINVAL, ioctl(device, DEVICE_GET_INFO, &info));
  struct bind wrong = {.argsz = sizeof(wrong), .iommufd = 1};
  REFUSED(EBADFD, ioctl(device, BIND_IOMMUFD, &wrong));
  wrong.iommufd = 999;
  REFUSED(EBADF, ioctl(device, BIND_IOMMUFD, &wrong));
  CHECK(bind_device(device, fd) != 0);
  CHECK(ioctl(device, DEVICE_GET_INFO, &info) == 0 && info.regions >= 8);
  const uint32_t ioas = alloc_ioas(fd);
  attach_device(device, ioas);

  const struct region_info config = region(CONFIG_REGION);
  uint16_t vendor = 0, command = 6;
  CHECK(pread(device, &vendor, 2, (off_t)config.offset) == 2 && vendor == 0x1234);
  CHECK(pwrite(device, &command, 2, (off_t)config.offset + 4) == 2);
  registers = region(0).offset;
  const struct region_info own = region(2);
  CHECK(own.size == 65536 && (own.flags & 4) == 0);
  CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, device, (off_t)own.offset) == MAP_FAILED && errno == ENODEV);
  CHECK(get(0) == 0x54534554);

  const int queue = epoll_create1(0);
  const int done = waited(queue);
  CHECK(set_irq(MSIX, 3, TRIGGER, done) == 0);
  REFUSED(EINVAL, set_irq(MSIX, 3, TRIGGER, fd));
  REFUSED(EBADF, set_irq(MSIX, 3, TRIGGER, 999));
  CHECK(set_irq(MSIX, 3, TRIGGER, done) == 0);

  char *at = memory(3 * 4096);
  char pattern[BYTES];
  for (int i = 0; i < BYTES; i++) pattern[i] = (char)(i * 3 + 1);
  CHECK(pwrite(device, pattern, BYTES, (off_t)own.offset) == BYTES);
  const uint64_t iova = map(fd, ioas, at, 3 * 4096);
  put(VECTOR, 3);
  transfer(iova + 100, BYTES, TO_MEMORY);
  wait_for(queue, done);
  CHECK(get(STATUS) == 0);
  CHECK(memcmp(at + 100, pattern, BYTES) == 0 && at[99] == 0 && at[100 + BYTES] == 0);
  strcpy(at, "from the program");
  transfer(iova, 17, FROM_MEMORY);
  wait_for(queue, done);
  char read_back[17];
  CHECK(pread(device, read_back, 17, (off_t)own.offset) == 17 && strcmp(read_back, "from the program") == 0);
  // Nothing is mapped there.
  transfer(iova + (1 << 20), 16, TO_MEMORY);
  wait_for(queue, done);
  CHECK(get(STATUS) == 2);

  // Vectors off; then the legacy interrupt.
  struct irq_set off = {.argsz = sizeof(off), .flags = 1 | TRIGGER, .index = MSIX};
  CHECK(ioctl(device, SET_IRQS, &off) == 0);
  const int line = waited(queue);
  CHECK(set_irq(INTX, 0, TRIGGER, line) == 0);
  const int unmask = eventfd(0, EFD_NONBLOCK);
  CHECK(set_irq(INTX, 0, UNMASK, unmask) == 0);
  for (int i = 0; i < 3; i++) {
    put(RAISE, 0);
    wait_for(queue, line);
    put(CAUSE, 1);
    CHECK(eventfd_write(unmask, 1) == 0);
    // The kernel takes the count when it unmasks.
    struct pollfd left = {.fd = unmask, .events = POLLIN};
    for (int turn = 0; turn < 3000 && poll(&left, 1, 0) == 1; turn++) usleep(10000);
    CHECK(poll(&left, 1, 0) == 0);
  }
  CHECK(close(device) == 0);
  CHECK((device = open("/dev/vfio/devices/vfio0", O_RDWR)) >= 0);
  CHECK(bind_device(device, fd) != 0);
  puts("interrupted");
  return 0;
}
