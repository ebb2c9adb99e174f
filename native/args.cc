#include "args.h"

#include <cmath>
#include <cstdio>

namespace host {

bool throwWrongType(napi_env env, const char* name, const char* expected) {
  const std::string message = std::string("The \"") + name + "\" argument must be " + expected;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message.c_str());
  return false;
}

bool throwWrongValue(napi_env env, const char* name, const char* problem) {
  const std::string message = std::string("The \"") + name + "\" argument " + problem;
  napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", message.c_str());
  return false;
}

bool throwOutOfRange(napi_env env, const char* name, const char* problem) {
  const std::string message = std::string("The \"") + name + "\" argument " + problem;
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message.c_str());
  return false;
}

bool throwOutOfRange(napi_env env, const char* name, double least, double most, double got) {
  char problem[160];
  std::snprintf(problem, sizeof problem, "must be an integer from %.0f to %.0f, not %.17g", least, most, got);
  return throwOutOfRange(env, name, problem);
}

bool readWholeSize(napi_env env, napi_value value, const char* name, size_t unit, size_t* out) {
  if (!readInteger(env, value, name, 1, kSafeInteger, out)) return false;
  if (*out % unit == 0) return true;
  char problem[96];
  std::snprintf(problem, sizeof problem, "must be a multiple of %zu bytes, not %zu", unit, *out);
  return throwOutOfRange(env, name, problem);
}

bool readUint64(napi_env env, napi_value value, const char* name, uint64_t* out) {
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, value, out, &lossless) != napi_ok) {
    return throwWrongType(env, name, "a bigint");
  }
  return lossless || throwOutOfRange(env, name, "must be a bigint from 0 to 2^64 - 1");
}

bool readFunction(napi_env env, napi_value value, const char* name) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_function || throwWrongType(env, name, "a function");
}

bool readString(napi_env env, napi_value value, const char* name, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) {
    return throwWrongType(env, name, "a string");
  }
  out->resize(length + 1);
  napi_get_value_string_utf8(env, value, out->data(), length + 1, &length);
  out->resize(length);
  return true;
}

bool readPath(napi_env env, napi_value value, const char* name, std::string* out) {
  if (!readString(env, value, name, out)) return false;
  return out->find('\0') == std::string::npos || throwWrongValue(env, name, "must not contain a NUL character");
}

}  // namespace host
