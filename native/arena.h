// The memory that callers encode their arguments into: outside V8's heap, at one address for the environment's life,
// with a page that faults before it and one behind.
#ifndef NATIVE_ARENA_H
#define NATIVE_ARENA_H

#include <napi.h>

#include <cstddef>
#include <cstdint>

#include "mapping.h"

namespace host {

class Arena {
 public:
  static constexpr size_t kSize = 256 * 1024;
  // The last words are not for structs: the hottest call finds its numbers there, since three stores of JavaScript cost
  // far less than three arguments of Node-API.
  struct Prepared {
    int32_t fd;
    uint32_t request;
    uint32_t at;
    uint32_t unused;
  };
  static constexpr size_t kPreparedAt = kSize - sizeof(Prepared);

  // 0 or -errno.
  int map() { return mapping_.mapGuarded(kSize); }
  void unmap() { mapping_.unmap(); }

  uint8_t* at(size_t offset) const { return mapping_.bytes + offset; }
  const Prepared* prepared() const { return reinterpret_cast<const Prepared*>(at(kPreparedAt)); }

  // The one ArrayBuffer over it, made at the first call and kept until forgetBuffer().
  napi_value buffer(napi_env env);
  // At the end of the environment.
  void forgetBuffer(napi_env env);

 private:
  Mapping mapping_;
  napi_ref buffer_ = nullptr;
};

}  // namespace host

#endif
