// A VFIO device in the test programs.
#ifndef IOMMUFD_TEST_VFIO_H
#define IOMMUFD_TEST_VFIO_H

#include "program.h"

enum {
  DEVICE_GET_INFO = 0x3b6b,
  GET_REGION_INFO = 0x3b6c,
  SET_IRQS = 0x3b6e,
  DEVICE_FEATURE = 0x3b75,
  BIND_IOMMUFD = 0x3b76,
  ATTACH_IOMMUFD_PT = 0x3b77,
};
struct device_info { uint32_t argsz, flags, regions, irqs, cap_offset, pad; };
struct region_info { uint32_t argsz, flags, index, cap_offset; uint64_t size, offset; };
struct irq_set { uint32_t argsz, flags, index, start, count; int32_t fd; };
struct bind { uint32_t argsz, flags; int32_t iommufd; uint32_t id; uint64_t token; };
struct attach { uint32_t argsz, flags, id, pasid; };
enum { CONFIG_REGION = 7, INTX = 0, MSIX = 2 };
enum { FROM_EVENTFD = 4, UNMASK = 16, TRIGGER = 32 };

static inline uint32_t bind_device(int device, int iommu) {
  struct bind argument = {.argsz = sizeof(argument), .iommufd = iommu};
  CHECK(ioctl(device, BIND_IOMMUFD, &argument) == 0);
  return argument.id;
}
static inline void attach_device(int device, uint32_t to) {
  struct attach argument = {.argsz = sizeof(argument), .id = to};
  CHECK(ioctl(device, ATTACH_IOMMUFD_PT, &argument) == 0);
}

#endif
