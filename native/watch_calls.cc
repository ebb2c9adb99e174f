// Waiting for fds, by number.
#include "calls.h"

namespace host {

namespace {

bool readWatch(const Napi::CallbackInfo& info, Watch** out) {
  uint32_t number = 0;
  if (!readUint32(info.Env(), info[0], "watch", &number)) return false;
  *out = Environment::of(info).watches.find(number);
  return *out != nullptr || throwNotLive(info.Env(), "watch", number);
}

Napi::Value watchOpen(const Napi::CallbackInfo& info) {
  int32_t fd = -1;
  if (!readInt32(info.Env(), info[0], "fd", &fd) || !readFunction(info.Env(), info[1], "onReadable")) return {};
  return toResult(info, Environment::of(info).watches.open(fd, info[1]));
}

template <void (Watches::*act)(Watch*)>
Napi::Value onWatch(const Napi::CallbackInfo& info) {
  Watch* watch = nullptr;
  if (!readWatch(info, &watch)) return {};
  (Environment::of(info).watches.*act)(watch);
  return info.Env().Undefined();
}

}  // namespace

void defineWatchCalls(Napi::Object exports, Environment* environment) {
  define<watchOpen>(exports, "watchOpen", environment);
  define<onWatch<&Watches::arm>>(exports, "watchArm", environment);
  define<onWatch<&Watches::disarm>>(exports, "watchDisarm", environment);
  define<onWatch<&Watches::ref>>(exports, "watchRef", environment);
  define<onWatch<&Watches::unref>>(exports, "watchUnref", environment);
  define<onWatch<&Watches::close>>(exports, "watchClose", environment);
}

}  // namespace host
