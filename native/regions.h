// The stretches of address space that an environment reserved for its callers, and the ArrayBuffers over them.
//
// An ArrayBuffer must never outlive the pages under it. So a region that is freed first detaches its windows. That is
// not enough: work that Node does on other threads (crypto, zlib) may still write to where a window was. It keeps the
// window's ArrayBuffer object, so the pages are replaced by empty ones of nobody's, which stay until V8 has collected
// the objects of all windows.
#ifndef NATIVE_REGIONS_H
#define NATIVE_REGIONS_H

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_set>

#include "files.h"
#include "mapping.h"
#include "slots.h"

namespace host {

class Regions;
struct Window;

enum class RegionKind : uint8_t { memory, block, mmio };

struct Region {
  Regions* regions;
  RegionKind kind;
  Mapping mapping;
  // The memfd behind it, or -1.
  int fd;
  // Its name in JavaScript, 0 when it has none any more.
  uint32_t number;
  // How much work on the thread pool uses it.
  uint32_t uses;
  // Whether its pages were given back, so that only windows that got away keep its addresses.
  bool blank;
  uint64_t age;
  std::unordered_set<Window*> windows;
};

// One per ArrayBuffer, freed by the last of its finalizers.
struct Window {
  // Null once the region does not wait for it any more.
  Region* region;
  // Weak: windows keep regions, not the other way round.
  napi_ref buffer;
  // V8 holds the bytes (under this ArrayBuffer, or another that they were moved to).
  bool bytesHeld;
  // The ArrayBuffer object lives.
  bool objectLives;
};

class Regions {
 public:
  explicit Regions(Files* files) : files_(files) {}

  // The number of a new region of these pages, or -errno with the pages given back and the fd closed.
  int64_t add(RegionKind kind, const Mapping& mapping, int fd);
  Region* find(uint32_t number) const { return slots_.find(number); }
  size_t live() const;

  // Null with an exception where V8 gives none.
  napi_value openWindow(napi_env env, Region* region, size_t offset, size_t length);

  // Takes the pages away from every window that is here; the region stays.
  void detachWindows(napi_env env, Region* region);
  int free(napi_env env, Region* region);
  // Leaves the region to its windows and to the work that uses it.
  void drop(Region* region);
  void hold(Region* region) { region->uses++; }
  void release(Region* region);

  // When no JavaScript will run any more: nothing can look through a window. Newest first.
  void unmapAll(napi_env env);

 private:
  static void bytesGone(napi_env env, void* data, void* hint);
  static void objectGone(napi_env env, void* data, void* hint);
  static void settle(napi_env env, Window* window);

  void forgetNumber(Region* region);
  void collectIfUnused(Region* region);
  void unmap(Region* region);

  Files* files_;
  Slots<Region> slots_;
  std::map<uint64_t, std::unique_ptr<Region>> regions_;
  uint64_t ages_ = 0;
};

}  // namespace host

#endif
