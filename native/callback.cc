#include "callback.h"

namespace host {

void callBack(napi_env env, napi_async_context context, napi_value function, size_t count, const napi_value* values) {
  napi_value global = nullptr;
  if (napi_get_global(env, &global) != napi_ok) return;
  const napi_status status = context == nullptr
                                 ? napi_call_function(env, global, function, count, values, nullptr)
                                 : napi_make_callback(env, context, global, function, count, values, nullptr);
  if (status == napi_ok) return;
  bool pending = false;
  napi_value thrown = nullptr;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &thrown) == napi_ok) {
    napi_fatal_exception(env, thrown);
  }
}

}  // namespace host
