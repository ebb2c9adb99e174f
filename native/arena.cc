#include "arena.h"

namespace host {

napi_value Arena::buffer(napi_env env) {
  napi_value buffer = nullptr;
  if (buffer_ != nullptr) {
    napi_get_reference_value(env, buffer_, &buffer);
    return buffer;
  }
  // Nothing to finalize: the reference keeps the buffer, and the pages outlive the environment's JavaScript.
  const auto finalizer = [](napi_env, void*, void*) {};
  if (napi_create_external_arraybuffer(env, mapping_.bytes, kSize, finalizer, nullptr, &buffer) != napi_ok ||
      napi_create_reference(env, buffer, 1, &buffer_) != napi_ok) {
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (!pending) napi_throw_error(env, nullptr, "this JavaScript engine has no external ArrayBuffers");
    return nullptr;
  }
  return buffer;
}

// Node frees no reference that an addon forgets.
void Arena::forgetBuffer(napi_env env) {
  if (buffer_ != nullptr) napi_delete_reference(env, buffer_);
  buffer_ = nullptr;
}

}  // namespace host
