// A stretch of address space from mmap(2), given back by whoever holds it. No ownership by destructor: when a mapping
// goes is decided in one place for regions and in one for the arena, in an order that matters.
#ifndef NATIVE_MAPPING_H
#define NATIVE_MAPPING_H

#include <cstddef>
#include <cstdint>

namespace host {

struct Mapping {
  // What was reserved, guard pages included.
  uint8_t* start = nullptr;
  size_t reserved = 0;
  // What may be touched.
  uint8_t* bytes = nullptr;
  size_t length = 0;

  // All answer 0 or -errno.

  int map(size_t size, int flags, int fd, int64_t offset);
  // Zeroed private memory between two pages that fault.
  int mapGuarded(size_t size);
  // Not handed to forked children: a child's copy-on-write would move the pages away from under the device.
  int keepFromChildren();
  // Replaces the pages by empty ones of nobody's, in place: the addresses stay taken, what was there cannot be reached.
  int blank();
  void unmap();
};

size_t pageSize();

}  // namespace host

#endif
