// Events of a virtual device: a thread waits for them with poll, another reads them; a buffer that cannot be written loses none.
#include "program.h"

#include <pthread.h>

enum { NEST_PARENT = 1, EVENTS = 5, VIRTUAL_ID = 0x99 };
// struct iommufd_vevent_header, and the mock's event.
struct record { uint32_t flags, sequence, virtual_id; };

static int events;

static void *reader(void *unused) {
  (void)unused;
  for (uint32_t next = 0; next < EVENTS;) {
    struct pollfd waiting = {.fd = events, .events = POLLIN};
    CHECK(poll(&waiting, 1, 30000) == 1 && waiting.revents == POLLIN);
    struct record record = {0};
    const ssize_t length = read(events, &record, sizeof(record));
    if (length == 0) continue;
    CHECK(length == sizeof(record) && record.sequence == next && record.virtual_id == VIRTUAL_ID);
    next++;
  }
  return NULL;
}

int main(void) {
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
  const uint32_t stdev = domain.args.u32[0], device = domain.args.u32[2];
  struct hwpt_alloc parent = {.size = sizeof(parent), .flags = NEST_PARENT, .device = device, .parent = ioas};
  CHECK(ioctl(fd, HWPT_ALLOC, &parent) == 0);
  struct viommu_alloc viommu = {.size = sizeof(viommu), .type = 0xdeadbeef, .device = device, .hwpt = parent.id};
  CHECK(ioctl(fd, VIOMMU_ALLOC, &viommu) == 0);
  struct { uint32_t flags, id; } nested = {0, 0xbadbeef};
  struct hwpt_alloc hwpt = {
      .size = sizeof(hwpt), .device = device, .parent = viommu.id, .data_type = 0xdead, .data_length = 4, .data = (uintptr_t)&nested.id};
  CHECK(ioctl(fd, HWPT_ALLOC, &hwpt) == 0);
  struct vdevice_alloc vdevice = {.size = sizeof(vdevice), .viommu = viommu.id, .device = device, .virtual_id = VIRTUAL_ID};
  CHECK(ioctl(fd, VDEVICE_ALLOC, &vdevice) == 0);
  struct test_cmd replace = {.size = sizeof(replace), .operation = 10, .id = stdev};
  replace.args.u32[0] = hwpt.id;
  CHECK(ioctl(fd, TEST_CMD, &replace) == 0);
  struct veventq_alloc queue = {.size = sizeof(queue), .viommu = viommu.id, .type = 0xbeefbeef, .depth = 16};
  CHECK(ioctl(fd, VEVENTQ_ALLOC, &queue) == 0);
  events = (int)queue.fd;
  CHECK(fcntl(events, F_GETFD) == FD_CLOEXEC);
  CHECK(poll(&(struct pollfd){.fd = events, .events = POLLIN}, 1, 0) == 0);

  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
  struct test_cmd raise = {.size = sizeof(raise), .operation = TRIGGER_VEVENT, .id = device};
  raise.args.u32[0] = device;
  for (int i = 0; i < EVENTS; i++) {
    CHECK(ioctl(fd, TEST_CMD, &raise) == 0);
    usleep(3000);
  }
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(poll(&(struct pollfd){.fd = events, .events = POLLIN}, 1, 0) == 0);

  CHECK(ioctl(fd, TEST_CMD, &raise) == 0);
  CHECK(poll(&(struct pollfd){.fd = events, .events = POLLIN}, 1, 0) == 1);
  char *fixed = memory(4096);
  CHECK(mprotect(fixed, 4096, PROT_READ) == 0);
  REFUSED(EFAULT, read(events, fixed, sizeof(struct record)));
  struct record record = {0};
  CHECK(read(events, &record, sizeof(record)) == sizeof(record) && record.sequence == EVENTS);
  CHECK(read(events, &record, sizeof(record)) == 0);
  puts("told");
  return 0;
}
