// Making the pages behind regions. All answer 0 or -errno, and leave nothing behind where they fail.
#ifndef NATIVE_MEMORY_H
#define NATIVE_MEMORY_H

#include <cstddef>
#include <cstdint>

#include "mapping.h"

namespace host {

// `hugePageSize` is 0 or a power of two.
int makeMemfd(size_t size, size_t hugePageSize, Mapping* mapping, int* fd);
int makeAnonymous(size_t size, size_t hugePageSize, Mapping* mapping);
// Answers a duplicate of the fd in `ownFd`.
int importMemfd(int fd, size_t size, Mapping* mapping, int* ownFd);
int mapDevice(int fd, int64_t offset, size_t length, Mapping* mapping);

}  // namespace host

#endif
