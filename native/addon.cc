// The host's system calls for Node: files and ioctls over an arena, memory and MMIO as regions, and waiting for fds.
// Knows nothing of what the ioctls mean.
#include <napi.h>

#include <cstring>
#include <string>

#include "calls.h"
#include "environment.h"

namespace {

Napi::Value arena(const Napi::CallbackInfo& info) {
  host::Environment& environment = host::Environment::of(info);
  const napi_value buffer = environment.arena.buffer(info.Env());
  if (buffer == nullptr) return {};
  Napi::Object result = Napi::Object::New(info.Env());
  const auto address = reinterpret_cast<uintptr_t>(environment.arena.at(0));
  result.Set("buffer", buffer);
  result.Set("address", Napi::BigInt::New(info.Env(), static_cast<uint64_t>(address)));
  return result;
}

// Node keeps one of these per environment, and deletes it when everything else of the environment is gone.
class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) : environment_(env) {
    const int error = environment_.start();
    if (error < 0) {
      const std::string message = std::string("the argument arena cannot be made: ") + std::strerror(-error);
      Napi::Error::New(env, message).ThrowAsJavaScriptException();
      return;
    }
    exports.Set("pageSize", Napi::Number::New(env, static_cast<double>(host::pageSize())));
    host::define<arena>(exports, "arena", &environment_);
    host::defineFileCalls(exports, &environment_);
    host::defineTransferCalls(exports, &environment_);
    host::defineRegionCalls(exports, &environment_);
    host::defineWindowCalls(exports, &environment_);
    host::defineMmioCalls(exports, &environment_);
    host::definePeerCalls(exports, &environment_);
    host::definePoolCalls(exports, &environment_);
    host::defineWatchCalls(exports, &environment_);
  }

 private:
  host::Environment environment_;
};

}  // namespace

NODE_API_NAMED_ADDON(iommufd, Addon)
