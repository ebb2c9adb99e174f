// ArrayBuffers over regions.
#include "calls.h"

namespace host {

namespace {

// V8 in Node 20 stops there, and answers no error of its own worth reading.
constexpr size_t kLongestWindow = size_t{4} << 30;

Napi::Value openWindow(const Napi::CallbackInfo& info, bool allowMmio) {
  const Napi::Env env = info.Env();
  Environment& environment = Environment::of(info);
  Region* region = nullptr;
  size_t offset = 0;
  size_t length = 0;
  if (!readRegion(env, info[0], environment, &region) ||
      !readSpan(env, info[1], "offset", info[2], "length", region->mapping.length, &offset, &length)) {
    return {};
  }
  if (region->kind == RegionKind::mmio && !allowMmio) {
    throwWrongValue(env, "region", "is MMIO, which is read and written by accesses of exact width");
    return {};
  }
  if (length > kLongestWindow) {
    throwOutOfRange(env, "length", "must not be more than 4 GiB, the longest ArrayBuffer over native memory");
    return {};
  }
  // V8 keeps no pointer of an empty buffer, and so never tells when it goes.
  if (length == 0) return Napi::ArrayBuffer::New(env, 0);
  return Napi::Value(env, environment.regions.openWindow(env, region, offset, length));
}

Napi::Value window(const Napi::CallbackInfo& info) { return openWindow(info, false); }

Napi::Value unsafeWindow(const Napi::CallbackInfo& info) { return openWindow(info, true); }

}  // namespace

void defineWindowCalls(Napi::Object exports, Environment* environment) {
  define<window>(exports, "window", environment);
  define<unsafeWindow>(exports, "unsafeWindow", environment);
}

}  // namespace host
