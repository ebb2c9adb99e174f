// What the addon exports, one function a file of calls. Each export carries its environment as its data.
#ifndef NATIVE_CALLS_H
#define NATIVE_CALLS_H

#include <napi.h>

#include <cstddef>

#include "args.h"
#include "environment.h"

namespace host {

void defineFileCalls(Napi::Object exports, Environment* environment);
void defineTransferCalls(Napi::Object exports, Environment* environment);
void defineRegionCalls(Napi::Object exports, Environment* environment);
void defineWindowCalls(Napi::Object exports, Environment* environment);
void defineMmioCalls(Napi::Object exports, Environment* environment);
void definePeerCalls(Napi::Object exports, Environment* environment);
void definePoolCalls(Napi::Object exports, Environment* environment);
void defineWatchCalls(Napi::Object exports, Environment* environment);

// A call that is made now and then.
using Call = Napi::Value (*)(const Napi::CallbackInfo& info);

template <Call call>
void define(Napi::Object exports, const char* name, Environment* environment) {
  exports.Set(name, Napi::Function::New<call>(exports.Env(), name, environment));
}

// A call of hot paths: raw Node-API, about half the cost of the above.
void defineHot(Napi::Object exports, const char* name, napi_callback call, Environment* environment);

// The arguments of a hot call: those not given are undefined.
template <size_t count>
struct HotArguments {
  HotArguments(napi_env env, napi_callback_info info) {
    size_t given = count;
    void* data = nullptr;
    napi_get_cb_info(env, info, &given, values, nullptr, &data);
    environment = static_cast<Environment*>(data);
  }

  napi_value operator[](size_t index) const { return values[index]; }

  napi_value values[count];
  Environment* environment;
};

inline napi_value toResult(napi_env env, int result) {
  napi_value value = nullptr;
  napi_create_int32(env, result, &value);
  return value;
}

inline Napi::Value toResult(const Napi::CallbackInfo& info, int64_t result) {
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

bool throwNotLive(napi_env env, const char* what, uint32_t number);

[[nodiscard]] inline bool readRegion(napi_env env, napi_value value, const Environment& environment, Region** out) {
  uint32_t number = 0;
  if (!readUint32(env, value, "region", &number)) return false;
  *out = environment.regions.find(number);
  return *out != nullptr || throwNotLive(env, "region", number);
}

}  // namespace host

#endif
