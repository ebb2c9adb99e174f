// Register accesses. Hot, and the only way to touch MMIO from JavaScript without an ArrayBuffer: the region's life, the
// bounds and the alignment are checked here, since nothing above could check them at the moment of the access.
#include "access.h"
#include "bus_error.h"
#include "calls.h"

namespace host {

namespace {

template <typename T>
T* locate(napi_env env, const Environment& environment, napi_value regionValue, napi_value offsetValue) {
  Region* region = nullptr;
  size_t offset = 0;
  if (!readRegion(env, regionValue, environment, &region) ||
      !readInteger(env, offsetValue, "offset", 0, static_cast<double>(region->mapping.length - sizeof(T)), &offset)) {
    return nullptr;
  }
  if (offset % sizeof(T) != 0) {
    throwOutOfRange(env, "offset", "must be a multiple of the width of the access");
    return nullptr;
  }
  return reinterpret_cast<T*>(region->mapping.bytes + offset);
}

template <typename T>
napi_value toValue(napi_env env, T number) {
  napi_value value = nullptr;
  if constexpr (sizeof(T) == 8) {
    napi_create_bigint_uint64(env, number, &value);
  } else {
    napi_create_uint32(env, number, &value);
  }
  return value;
}

template <typename T>
bool fromValue(napi_env env, napi_value value, T* out) {
  if constexpr (sizeof(T) == 8) {
    return readUint64(env, value, "value", out);
  } else {
    return readInteger(env, value, "value", 0, static_cast<double>(std::numeric_limits<T>::max()), out);
  }
}

napi_value throwGone(napi_env env) {
  napi_throw_error(env, "EIO", "the device has left memory space: its memory is off, or it is asleep, reset or gone");
  return nullptr;
}

// Out of line: a frame that a jump returns to holds nothing but the access.
template <typename T>
[[gnu::noinline]] bool tryRead(const T* at, T* value) {
  return guarded(at, sizeof(T), [at, value] { *value = readRegister(at); });
}

template <typename T>
[[gnu::noinline]] bool tryWrite(T* at, T value) {
  return guarded(at, sizeof(T), [at, value] { writeRegister(at, value); });
}

template <typename T>
napi_value readMmio(napi_env env, napi_callback_info info) {
  const HotArguments<2> args(env, info);
  const T* const at = locate<T>(env, *args.environment, args[0], args[1]);
  if (at == nullptr) return nullptr;
  T value = 0;
  return tryRead(at, &value) ? toValue(env, value) : throwGone(env);
}

template <typename T>
napi_value writeMmio(napi_env env, napi_callback_info info) {
  const HotArguments<3> args(env, info);
  T* const at = locate<T>(env, *args.environment, args[0], args[1]);
  T value = 0;
  if (at == nullptr || !fromValue(env, args[2], &value)) return nullptr;
  return tryWrite(at, value) ? nullptr : throwGone(env);
}

Napi::Value callCatchBusErrors(const Napi::CallbackInfo& info) { return toResult(info, catchBusErrors()); }

}  // namespace

void defineMmioCalls(Napi::Object exports, Environment* environment) {
  define<callCatchBusErrors>(exports, "catchBusErrors", environment);
  defineHot(exports, "read8", readMmio<uint8_t>, environment);
  defineHot(exports, "read16", readMmio<uint16_t>, environment);
  defineHot(exports, "read32", readMmio<uint32_t>, environment);
  defineHot(exports, "read64", readMmio<uint64_t>, environment);
  defineHot(exports, "write8", writeMmio<uint8_t>, environment);
  defineHot(exports, "write16", writeMmio<uint16_t>, environment);
  defineHot(exports, "write32", writeMmio<uint32_t>, environment);
  defineHot(exports, "write64", writeMmio<uint64_t>, environment);
}

}  // namespace host
