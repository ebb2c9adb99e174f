// Accesses of device registers that may end in SIGBUS: a device leaves memory space when its memory is turned off, when it
// is reset or sleeps, and when it is gone, and VFIO then answers a page fault with that signal
// (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_mmap_huge_fault). The process must live on, and its program be told.
#ifndef NATIVE_BUS_ERROR_H
#define NATIVE_BUS_ERROR_H

#include <csetjmp>
#include <cstddef>
#include <cstdint>

namespace host {

// An access that is under way on this thread. While one is, SIGBUS at its address returns to `place`.
struct GuardedAccess {
  sigjmp_buf place;
  uintptr_t address;
  size_t width;
};

// Makes SIGBUS end at guarded accesses, also where somebody else has taken the signal since; other SIGBUS go to whoever had
// it before. 0 or -errno.
int catchBusErrors();

// The access that this thread is at, or null. Inline, since every access of a register sets it twice.
extern thread_local GuardedAccess* volatile guardedAccess;

// Runs one access; false where it ended in SIGBUS. `access` is a plain load or store: no destructor may be skipped.
template <typename Access>
bool guarded(const volatile void* at, size_t width, Access access) {
  GuardedAccess guard;
  guard.address = reinterpret_cast<uintptr_t>(at);
  guard.width = width;
  if (sigsetjmp(guard.place, 0) != 0) {
    guardedAccess = nullptr;
    return false;
  }
  guardedAccess = &guard;
  access();
  guardedAccess = nullptr;
  return true;
}

}  // namespace host

#endif
