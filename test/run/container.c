// A program that knows VFIO's containers only: /dev/vfio/vfio is an iommufd, and answers their calls for one IOAS.
#include "program.h"

enum {
  GET_API_VERSION = 0x3b64,
  CHECK_EXTENSION = 0x3b65,
  SET_IOMMU = 0x3b66,
  GET_INFO = 0x3b70,
  MAP_DMA = 0x3b71,
  UNMAP_DMA = 0x3b72,
  DIRTY_PAGES = 0x3b75,
  VFIO_IOAS = 0x3b88,
};
enum { TYPE1 = 1, TYPE1V2 = 3, UNMAP_ALL = 9, LENGTH = 16 * 4096 };

struct vfio_ioas { uint32_t size, ioas; uint16_t operation, reserved; };
struct dma_map { uint32_t size, flags; uint64_t address, iova, length; };
struct dma_unmap { uint32_t size, flags; uint64_t iova, length; };
struct info { uint32_t size, flags; uint64_t page_sizes; uint32_t capability, pad; unsigned char more[256]; };

int main(void) {
  const int fd = open("/dev/vfio/vfio", O_RDWR);
  CHECK(fd >= 0);
  CHECK(ioctl(fd, GET_API_VERSION) == 0);
  CHECK(ioctl(fd, CHECK_EXTENSION, TYPE1V2) == 1 && ioctl(fd, CHECK_EXTENSION, UNMAP_ALL) == 1);
  CHECK(ioctl(fd, CHECK_EXTENSION, 77) == 0);
  REFUSED(ENODEV, ioctl(fd, SET_IOMMU, TYPE1));
  REFUSED(ENOTTY, ioctl(fd, DIRTY_PAGES, NULL));
  const uint32_t ioas = alloc_ioas(fd);
  struct vfio_ioas set = {.size = sizeof(set), .ioas = ioas, .operation = 1};
  CHECK(ioctl(fd, VFIO_IOAS, &set) == 0);
  CHECK(ioctl(fd, SET_IOMMU, TYPE1) == 0);

  struct info info = {.size = sizeof(info)};
  CHECK(ioctl(fd, GET_INFO, &info) == 0);
  CHECK(info.size == 72 && info.flags == 3 && info.capability == 24);
  REFUSED(EFAULT, ioctl(fd, GET_INFO, NULL));

  char *own = memory(LENGTH);
  struct dma_map map = {
      .size = sizeof(map), .flags = 3, .address = (uintptr_t)own, .iova = 0x1000000, .length = LENGTH};
  CHECK(ioctl(fd, MAP_DMA, &map) == 0);
  REFUSED(EEXIST, ioctl(fd, MAP_DMA, &map));
  const int access = create_access(fd, ioas);
  char seen[8] = "";
  memcpy(own + 3 * 4096, "written", 8);
  CHECK(access_memory(fd, access, 0x1003000, seen, 8, 0) == 0);
  CHECK(strcmp(seen, "written") == 0);
  // The first model unmaps in the middle.
  struct dma_unmap unmap = {.size = sizeof(unmap), .iova = 0x1003000, .length = 4096};
  CHECK(ioctl(fd, UNMAP_DMA, &unmap) == 0 && unmap.length == 4096);
  REFUSED(ENOENT, access_memory(fd, access, 0x1003000, seen, 8, 0));
  CHECK(access_memory(fd, access, 0x1004000, seen, 8, 0) == 0);
  unmap = (struct dma_unmap){.size = sizeof(unmap), .flags = 2};
  CHECK(ioctl(fd, UNMAP_DMA, &unmap) == 0 && unmap.length == LENGTH - 4096);
  CHECK(close(access) == 0 && close(fd) == 0);
  puts("contained");
  return 0;
}
