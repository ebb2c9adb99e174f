// The calls that change what is mapped, in place of the C library's: what devices may reach there is taken over before. A call
// that is sure to be refused changes nothing, so that nothing is told of it.
#include "real.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>

#define SHOWN __attribute__((visibility("default")))
#define PAGE ((uintptr_t)4096)
// No process has addresses beyond.
#define ADDRESSES ((uintptr_t)1 << 48)
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

// Whether a stretch can be unmapped at all (mm/vma.c: do_vmi_munmap).
static bool is_stretch(const void *at, size_t length) {
  const uintptr_t start = (uintptr_t)at;
  return start % PAGE == 0 && length != 0 && start < ADDRESSES && length <= ADDRESSES - start;
}
static bool is_watched(void) {
  return atomic_load(&pages_watched) != 0;
}

static bool can_replace(const void *at, size_t length, int flags, int fd, off_t offset) {
  if (!is_stretch(at, length) || (uintptr_t)offset % PAGE != 0) return false;
  return (flags & MAP_ANONYMOUS) != 0 || real()->fcntl(fd, F_GETFD) >= 0;
}
SHOWN void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  const int before = errno;
  if ((flags & MAP_FIXED) != 0 && is_watched() && can_replace(at, length, flags, fd, offset)) pages_unmap(at, length);
  errno = before;
  uint64_t file = 0;
  const bool ours = (flags & MAP_ANONYMOUS) == 0 && is_file(fd, &file);
  if (!ours) return real()->mmap(at, length, protection, flags, fd, offset);
  if (length != 0 && (uintptr_t)offset % PAGE == 0) return pages_map(at, length, protection, flags, file, offset);
  errno = EINVAL;
  return MAP_FAILED;
}
SHOWN int munmap(void *at, size_t length) {
  if (is_watched() && is_stretch(at, length)) pages_unmap(at, length);
  return real()->munmap(at, length);
}

// mm/mremap.c: check_mremap_params.
static bool can_move(const void *at, size_t length, size_t wanted, int flags, const void *to) {
  const int known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  if ((flags & ~known) != 0 || (uintptr_t)at % PAGE != 0 || wanted == 0) return false;
  if ((flags & MREMAP_DONTUNMAP) != 0 && length != wanted) return false;
  if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) == 0) return true;
  if ((flags & MREMAP_MAYMOVE) == 0) return false;
  if ((flags & MREMAP_FIXED) == 0) return true;
  const uintptr_t from = (uintptr_t)at, target = (uintptr_t)to;
  return is_stretch(to, wanted) && !(from < target + wanted && target < from + length);
}
SHOWN void *mremap(void *at, size_t length, size_t wanted, int flags, ...) {
  va_list list;
  va_start(list, flags);
  void *to = (flags & MREMAP_FIXED) != 0 ? va_arg(list, void *) : NULL;
  va_end(list);
  if (is_watched() && can_move(at, length, wanted, flags, to)) {
    const size_t kept = (wanted + PAGE - 1) & ~(PAGE - 1);
    if (kept < length) pages_unmap((char *)at + kept, length - kept);
    if (to != NULL) pages_unmap(to, wanted);
  }
  void *moved = real()->mremap(at, length, wanted, flags, to);
  if (moved != MAP_FAILED && moved != at && is_watched()) pages_moved(at, moved, wanted < length ? wanted : length);
  return moved;
}

// Pages that are pinned stay also after MADV_FREE: nobody takes them while they are in use.
SHOWN int madvise(void *at, size_t length, int advice) {
  const bool drops = advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED;
  if (drops && is_watched() && is_stretch(at, length)) pages_discard(at, length);
  return real()->madvise(at, length, advice);
}
