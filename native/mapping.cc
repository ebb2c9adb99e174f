#include "mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace host {

size_t pageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

int Mapping::map(size_t size, int flags, int fd, int64_t offset) {
  void* const at = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, offset);
  if (at == MAP_FAILED) return -errno;
  start = bytes = static_cast<uint8_t*>(at);
  reserved = length = size;
  return 0;
}

int Mapping::mapGuarded(size_t size) {
  const size_t page = pageSize();
  void* const at = mmap(nullptr, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return -errno;
  start = static_cast<uint8_t*>(at);
  reserved = size + 2 * page;
  bytes = start + page;
  length = size;
  if (mprotect(bytes, length, PROT_READ | PROT_WRITE) == 0) return 0;
  const int error = errno;
  unmap();
  return -error;
}

int Mapping::keepFromChildren() { return madvise(bytes, length, MADV_DONTFORK) == 0 ? 0 : -errno; }

int Mapping::blank() {
  void* const at = mmap(bytes, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                        -1, 0);
  return at == MAP_FAILED ? -errno : 0;
}

void Mapping::unmap() {
  if (start != nullptr) munmap(start, reserved);
  *this = Mapping();
}

}  // namespace host
