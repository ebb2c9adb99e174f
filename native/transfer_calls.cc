// ioctl, read and write between an fd and the arena. These are the hot calls: raw Node-API, nothing allocated.
//
// The kernel follows whatever pointers an ioctl's struct holds, so these checks only keep the struct itself in the
// arena; the rest is the encoder's. An ioctl interrupted by a signal is not made again, since it may have had its
// effect already; reads and writes that were interrupted have moved nothing.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "calls.h"

namespace host {

namespace {

napi_value ioctlArena(napi_env env, napi_callback_info info) {
  const HotArguments<3> args(env, info);
  int32_t fd = -1;
  uint32_t request = 0;
  size_t at = 0;
  if (!readInt32(env, args[0], "fd", &fd) || !readUint32(env, args[1], "request", &request) ||
      !readInteger(env, args[2], "at", 0, static_cast<double>(Arena::kSize - 1), &at)) {
    return nullptr;
  }
  const int result = ioctl(fd, request, args.environment->arena.at(at));
  return toResult(env, result < 0 ? -errno : result);
}

// As above, with the numbers taken from the arena's last words.
napi_value ioctlPrepared(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  const Arena& arena = static_cast<Environment*>(data)->arena;
  const Arena::Prepared call = *arena.prepared();
  if (call.at >= Arena::kPreparedAt) {
    throwOutOfRange(env, "at", "must lie in the arena");
    return nullptr;
  }
  const int result = ioctl(call.fd, call.request, arena.at(call.at));
  return toResult(env, result < 0 ? -errno : result);
}

napi_value ioctlValue(napi_env env, napi_callback_info info) {
  const HotArguments<3> args(env, info);
  int32_t fd = -1;
  uint32_t request = 0;
  int64_t value = 0;
  if (!readInt32(env, args[0], "fd", &fd) || !readUint32(env, args[1], "request", &request) ||
      !readInteger(env, args[2], "value", -kSafeInteger, kSafeInteger, &value)) {
    return nullptr;
  }
  const int result = ioctl(fd, request, value);
  return toResult(env, result < 0 ? -errno : result);
}

// A call that moves bytes, made again where a signal came first. The arena is small enough for an int.
template <typename Move>
napi_value moved(napi_env env, Move move) {
  ssize_t result = -1;
  do {
    result = move();
  } while (result < 0 && errno == EINTR);
  return toResult(env, result < 0 ? -errno : static_cast<int>(result));
}

template <ssize_t (*call)(int, uint8_t*, size_t)>
napi_value atCursor(napi_env env, napi_callback_info info) {
  const HotArguments<3> args(env, info);
  int32_t fd = -1;
  size_t at = 0;
  size_t length = 0;
  if (!readInt32(env, args[0], "fd", &fd) ||
      !readSpan(env, args[1], "at", args[2], "length", Arena::kSize, &at, &length)) {
    return nullptr;
  }
  uint8_t* const bytes = args.environment->arena.at(at);
  return moved(env, [=] { return call(fd, bytes, length); });
}

template <ssize_t (*call)(int, uint8_t*, size_t, off_t)>
napi_value atPosition(napi_env env, napi_callback_info info) {
  const HotArguments<4> args(env, info);
  int32_t fd = -1;
  size_t at = 0;
  size_t length = 0;
  off_t position = 0;
  if (!readInt32(env, args[0], "fd", &fd) ||
      !readSpan(env, args[1], "at", args[2], "length", Arena::kSize, &at, &length) ||
      !readInteger(env, args[3], "position", 0, kSafeInteger, &position)) {
    return nullptr;
  }
  uint8_t* const bytes = args.environment->arena.at(at);
  return moved(env, [=] { return call(fd, bytes, length, position); });
}

ssize_t readBytes(int fd, uint8_t* bytes, size_t length) { return ::read(fd, bytes, length); }
ssize_t writeBytes(int fd, uint8_t* bytes, size_t length) { return ::write(fd, bytes, length); }
ssize_t preadBytes(int fd, uint8_t* bytes, size_t length, off_t position) {
  return ::pread(fd, bytes, length, position);
}
ssize_t pwriteBytes(int fd, uint8_t* bytes, size_t length, off_t position) {
  return ::pwrite(fd, bytes, length, position);
}

}  // namespace

void defineTransferCalls(Napi::Object exports, Environment* environment) {
  defineHot(exports, "ioctl", ioctlArena, environment);
  defineHot(exports, "ioctlPrepared", ioctlPrepared, environment);
  defineHot(exports, "ioctlValue", ioctlValue, environment);
  defineHot(exports, "read", atCursor<readBytes>, environment);
  defineHot(exports, "write", atCursor<writeBytes>, environment);
  defineHot(exports, "pread", atPosition<preadBytes>, environment);
  defineHot(exports, "pwrite", atPosition<pwriteBytes>, environment);
}

}  // namespace host
