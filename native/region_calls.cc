// Making regions and letting them go.
#include <cerrno>
#include <string>

#include "calls.h"
#include "memory.h"

namespace host {

namespace {

bool readHugePageSize(napi_env env, napi_value value, size_t* out) {
  if (!readSize(env, value, "hugePageSize", out)) return false;
  const bool powerOfTwo = (*out & (*out - 1)) == 0;
  if (*out == 0 || (powerOfTwo && *out >= pageSize())) return true;
  return throwOutOfRange(env, "hugePageSize", "must be 0, or a power of two that is not less than a page");
}

// A region of the pages that were made, or the reason why none were.
Napi::Value toRegion(const Napi::CallbackInfo& info, int error, RegionKind kind, const Mapping& mapping, int fd) {
  return toResult(info, error < 0 ? error : Environment::of(info).regions.add(kind, mapping, fd));
}

Napi::Value allocateMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string backing;
  size_t size = 0;
  size_t hugePageSize = 0;
  if (!readString(env, info[0], "backing", &backing) || !readHugePageSize(env, info[2], &hugePageSize) ||
      !readWholeSize(env, info[1], "size", hugePageSize == 0 ? pageSize() : hugePageSize, &size)) {
    return {};
  }
  Mapping mapping;
  int fd = -1;
  int error = 0;
  if (backing == "memfd") {
    error = makeMemfd(size, hugePageSize, &mapping, &fd);
  } else if (backing == "anonymous") {
    error = makeAnonymous(size, hugePageSize, &mapping);
  } else {
    throwWrongValue(env, "backing", "must be \"memfd\" or \"anonymous\"");
    return {};
  }
  return toRegion(info, error, RegionKind::memory, mapping, fd);
}

Napi::Value importMemory(const Napi::CallbackInfo& info) {
  int32_t fd = -1;
  size_t size = 0;
  if (!readInt32(info.Env(), info[0], "fd", &fd) || !readWholeSize(info.Env(), info[1], "size", pageSize(), &size)) {
    return {};
  }
  Mapping mapping;
  int ownFd = -1;
  const int error = importMemfd(fd, size, &mapping, &ownFd);
  return toRegion(info, error, RegionKind::memory, mapping, ownFd);
}

Napi::Value allocateBlock(const Napi::CallbackInfo& info) {
  size_t size = 0;
  if (!readWholeSize(info.Env(), info[0], "size", pageSize(), &size)) return {};
  Mapping mapping;
  const int error = mapping.mapGuarded(size);
  return toRegion(info, error, RegionKind::block, mapping, -1);
}

Napi::Value mapMmio(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int32_t fd = -1;
  int64_t offset = 0;
  size_t length = 0;
  if (!readInt32(env, info[0], "fd", &fd) || !readInteger(env, info[1], "offset", 0, kSafeInteger, &offset) ||
      !readWholeSize(env, info[2], "length", pageSize(), &length)) {
    return {};
  }
  if (static_cast<size_t>(offset) % pageSize() != 0) {
    throwOutOfRange(env, "offset", "must be a multiple of the page size");
    return {};
  }
  Mapping mapping;
  const int error = mapDevice(fd, offset, length, &mapping);
  return toRegion(info, error, RegionKind::mmio, mapping, -1);
}

Napi::Value regionAddress(const Napi::CallbackInfo& info) {
  Region* region = nullptr;
  if (!readRegion(info.Env(), info[0], Environment::of(info), &region)) return {};
  const auto address = reinterpret_cast<uintptr_t>(region->mapping.bytes);
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(address));
}

Napi::Value regionFd(const Napi::CallbackInfo& info) {
  Region* region = nullptr;
  if (!readRegion(info.Env(), info[0], Environment::of(info), &region)) return {};
  return toResult(info, region->fd);
}

Napi::Value liveRegions(const Napi::CallbackInfo& info) {
  return toResult(info, static_cast<int64_t>(Environment::of(info).regions.live()));
}

Napi::Value detachWindows(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info);
  Region* region = nullptr;
  if (!readRegion(info.Env(), info[0], environment, &region)) return {};
  environment.regions.detachWindows(info.Env(), region);
  return info.Env().Undefined();
}

Napi::Value freeRegion(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info);
  Region* region = nullptr;
  if (!readRegion(info.Env(), info[0], environment, &region)) return {};
  return toResult(info, environment.regions.free(info.Env(), region));
}

Napi::Value dropRegion(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info);
  Region* region = nullptr;
  if (!readRegion(info.Env(), info[0], environment, &region)) return {};
  environment.regions.drop(region);
  return info.Env().Undefined();
}

}  // namespace

void defineRegionCalls(Napi::Object exports, Environment* environment) {
  define<allocateMemory>(exports, "allocateMemory", environment);
  define<importMemory>(exports, "importMemory", environment);
  define<allocateBlock>(exports, "allocateBlock", environment);
  define<mapMmio>(exports, "mapMmio", environment);
  define<regionAddress>(exports, "regionAddress", environment);
  define<regionFd>(exports, "regionFd", environment);
  define<liveRegions>(exports, "liveRegions", environment);
  define<detachWindows>(exports, "detachWindows", environment);
  define<freeRegion>(exports, "freeRegion", environment);
  define<dropRegion>(exports, "dropRegion", environment);
}

}  // namespace host
