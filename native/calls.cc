#include "calls.h"

#include <string>

namespace host {

void defineHot(Napi::Object exports, const char* name, napi_callback call, Environment* environment) {
  napi_value function = nullptr;
  const napi_env env = exports.Env();
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, call, environment, &function) != napi_ok) return;
  napi_set_named_property(env, exports, name, function);
}

bool throwNotLive(napi_env env, const char* what, uint32_t number) {
  const std::string message = std::string(what) + " " + std::to_string(number) + " is not live";
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
  return false;
}

}  // namespace host
