#include "memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>

#include "bus_error.h"

namespace host {

namespace {

// Since Linux 6.3; older headers lack it.
constexpr unsigned kNoExec = 8;

// memfd_create and mmap take the logarithm of a huge page's size in the same place.
unsigned hugeSizeBits(size_t hugePageSize) {
  static_assert(MFD_HUGE_SHIFT == MAP_HUGE_SHIFT, "one encoding for both calls");
  return static_cast<unsigned>(__builtin_ctzll(hugePageSize)) << MAP_HUGE_SHIFT;
}

int createMemfd(size_t hugePageSize) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (hugePageSize != 0) flags |= MFD_HUGETLB | hugeSizeBits(hugePageSize);
  // Not executable where the kernel knows the flag: some systems refuse any other memfd.
  int fd = memfd_create("iommufd-memory", flags | kNoExec);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("iommufd-memory", flags);
  return fd < 0 ? -errno : fd;
}

// Memory of a file that cannot shrink, so that touching it never is a SIGBUS.
int mapShared(int fd, int64_t offset, size_t size, Mapping* mapping) {
  int error = mapping->map(size, MAP_SHARED, fd, offset);
  if (error < 0) return error;
  error = mapping->keepFromChildren();
  if (error < 0) mapping->unmap();
  return error;
}

int sizeAndSeal(int fd, size_t size) {
  if (ftruncate(fd, static_cast<off_t>(size)) < 0) return -errno;
  // Sealed for good, so that nobody whom the fd is given to can seal it against us.
  return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0 ? -errno : 0;
}

// -EINVAL for what is no memfd or is too small, -EPERM for one that can shrink and cannot be sealed.
int checkImport(int fd, size_t size) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return -errno;
  if ((seals & F_SEAL_SHRINK) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) return -errno;
  // Only now, since until the seal its size was anybody's.
  struct stat status = {};
  if (fstat(fd, &status) < 0) return -errno;
  if (!S_ISREG(status.st_mode) || static_cast<size_t>(status.st_size) < size) return -EINVAL;
  // A mapping of huge pages is made of whole ones, and can only be undone whole.
  struct statfs filesystem = {};
  if (fstatfs(fd, &filesystem) < 0) return -errno;
  if (filesystem.f_type == HUGETLBFS_MAGIC && size % static_cast<size_t>(filesystem.f_bsize) != 0) return -EINVAL;
  return 0;
}

}  // namespace

int makeMemfd(size_t size, size_t hugePageSize, Mapping* mapping, int* fd) {
  const int made = createMemfd(hugePageSize);
  if (made < 0) return made;
  int error = sizeAndSeal(made, size);
  if (error == 0) error = mapShared(made, 0, size, mapping);
  if (error < 0) {
    close(made);
    return error;
  }
  *fd = made;
  return 0;
}

int makeAnonymous(size_t size, size_t hugePageSize, Mapping* mapping) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  if (hugePageSize != 0) flags |= MAP_HUGETLB | static_cast<int>(hugeSizeBits(hugePageSize));
  int error = mapping->map(size, flags, -1, 0);
  if (error < 0) return error;
  error = mapping->keepFromChildren();
  if (error < 0) mapping->unmap();
  return error;
}

int importMemfd(int fd, size_t size, Mapping* mapping, int* ownFd) {
  const int duplicated = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (duplicated < 0) return -errno;
  int error = checkImport(duplicated, size);
  if (error == 0) error = mapShared(duplicated, 0, size, mapping);
  if (error < 0) {
    close(duplicated);
    return error;
  }
  *ownFd = duplicated;
  return 0;
}

int mapDevice(int fd, int64_t offset, size_t length, Mapping* mapping) {
  struct stat status = {};
  if (fstat(fd, &status) < 0) return -errno;
  // An ordinary file can stand in for a device, but beyond its end touching it would be a SIGBUS.
  if (S_ISREG(status.st_mode) &&
      (offset > status.st_size || length > static_cast<size_t>(status.st_size - offset))) {
    return -EINVAL;
  }
  const int error = catchBusErrors();
  return error < 0 ? error : mapShared(fd, offset, length, mapping);
}

}  // namespace host
