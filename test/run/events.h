// A virtual device of the mock's, with a queue of its events.
#ifndef IOMMUFD_TEST_EVENTS_H
#define IOMMUFD_TEST_EVENTS_H

#include "program.h"

enum { NEST_PARENT = 1, REPLACE = 10, VIRTUAL_ID = 0x99 };
// struct iommufd_vevent_header, and the mock's event.
struct record { uint32_t flags, sequence, virtual_id; };

// Answers the queue's fd, and the device by which events are raised.
static inline int open_events(int fd, uint32_t *device) {
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
  const uint32_t stdev = domain.args.u32[0];
  *device = domain.args.u32[2];
  struct hwpt_alloc parent = {.size = sizeof(parent), .flags = NEST_PARENT, .device = *device, .parent = ioas};
  CHECK(ioctl(fd, HWPT_ALLOC, &parent) == 0);
  struct viommu_alloc viommu = {.size = sizeof(viommu), .type = 0xdeadbeef, .device = *device, .hwpt = parent.id};
  CHECK(ioctl(fd, VIOMMU_ALLOC, &viommu) == 0);
  uint32_t iotlb = 0xbadbeef;
  struct hwpt_alloc hwpt = {
      .size = sizeof(hwpt), .device = *device, .parent = viommu.id, .data_type = 0xdead, .data_length = 4, .data = (uintptr_t)&iotlb};
  CHECK(ioctl(fd, HWPT_ALLOC, &hwpt) == 0);
  struct vdevice_alloc vdevice = {.size = sizeof(vdevice), .viommu = viommu.id, .device = *device, .virtual_id = VIRTUAL_ID};
  CHECK(ioctl(fd, VDEVICE_ALLOC, &vdevice) == 0);
  struct test_cmd replace = {.size = sizeof(replace), .operation = REPLACE, .id = stdev};
  replace.args.u32[0] = hwpt.id;
  CHECK(ioctl(fd, TEST_CMD, &replace) == 0);
  struct veventq_alloc queue = {.size = sizeof(queue), .viommu = viommu.id, .type = 0xbeefbeef, .depth = 16};
  CHECK(ioctl(fd, VEVENTQ_ALLOC, &queue) == 0);
  return (int)queue.fd;
}
static inline void raise_event(int fd, uint32_t device) {
  struct test_cmd raise = {.size = sizeof(raise), .operation = TRIGGER_VEVENT, .id = device};
  raise.args.u32[0] = device;
  CHECK(ioctl(fd, TEST_CMD, &raise) == 0);
}
static inline int is_told(int events, int milliseconds) {
  return poll(&(struct pollfd){.fd = events, .events = POLLIN}, 1, milliseconds);
}

#endif
