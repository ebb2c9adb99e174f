// Reading arguments. A reader that answers false has thrown: TypeError for a wrong type, RangeError for a wrong value,
// both with Node's code and the argument's name. They are chained with &&, so that the first defect is the one told.
#ifndef NATIVE_ARGS_H
#define NATIVE_ARGS_H

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "platform.h"

namespace host {

constexpr double kSafeInteger = 9007199254740991.0;

// Out of line and cold: what a correct caller never meets.
bool throwWrongType(napi_env env, const char* name, const char* expected);
bool throwWrongValue(napi_env env, const char* name, const char* problem);
bool throwOutOfRange(napi_env env, const char* name, const char* problem);
bool throwOutOfRange(napi_env env, const char* name, double least, double most, double got);

// An integer of JavaScript within [least, most]. Read as a double, since napi_get_value_int32 wraps and truncates
// silently; the bounds lie within the safe integers, so the conversion is exact.
template <typename T>
[[nodiscard]] inline bool readInteger(
    napi_env env, napi_value value, const char* name, double least, double most, T* out) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) return throwWrongType(env, name, "a number");
  if (!(number >= least && number <= most)) return throwOutOfRange(env, name, least, most, number);
  const int64_t integer = static_cast<int64_t>(number);
  if (static_cast<double>(integer) != number) return throwOutOfRange(env, name, "must be an integer");
  *out = static_cast<T>(integer);
  return true;
}

// Any int: what is not an fd is the kernel's to refuse.
[[nodiscard]] inline bool readInt32(napi_env env, napi_value value, const char* name, int32_t* out) {
  return readInteger(env, value, name, -2147483648.0, 2147483647.0, out);
}

[[nodiscard]] inline bool readUint32(napi_env env, napi_value value, const char* name, uint32_t* out) {
  return readInteger(env, value, name, 0, 4294967295.0, out);
}

// A size, an offset or a position: a safe integer from 0.
[[nodiscard]] inline bool readSize(napi_env env, napi_value value, const char* name, size_t* out) {
  return readInteger(env, value, name, 0, kSafeInteger, out);
}

// An offset and a length that lie within `size` bytes. The offset may be the end where the length is 0.
[[nodiscard]] inline bool readSpan(napi_env env, napi_value offsetValue, const char* offsetName, napi_value lengthValue,
                                   const char* lengthName, size_t size, size_t* offset, size_t* length) {
  return readInteger(env, offsetValue, offsetName, 0, static_cast<double>(size), offset) &&
         readInteger(env, lengthValue, lengthName, 0, static_cast<double>(size - *offset), length);
}

// A size in bytes that is a multiple of `unit` and not 0.
[[nodiscard]] bool readWholeSize(napi_env env, napi_value value, const char* name, size_t unit, size_t* out);
// A bigint of 64 bits, unsigned.
[[nodiscard]] bool readUint64(napi_env env, napi_value value, const char* name, uint64_t* out);
[[nodiscard]] bool readFunction(napi_env env, napi_value value, const char* name);
[[nodiscard]] bool readString(napi_env env, napi_value value, const char* name, std::string* out);
// A string without NUL, which would cut a path short.
[[nodiscard]] bool readPath(napi_env env, napi_value value, const char* name, std::string* out);

}  // namespace host

#endif
