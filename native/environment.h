// All that belongs to one environment (the main thread's, or a worker's), and the order in which it goes.
#ifndef NATIVE_ENVIRONMENT_H
#define NATIVE_ENVIRONMENT_H

#include <napi.h>

#include "arena.h"
#include "files.h"
#include "jobs.h"
#include "regions.h"
#include "watches.h"

namespace host {

struct Environment {
  explicit Environment(napi_env itsEnv);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // 0 or -errno.
  int start();

  // Goes on with the end of the environment, where it has begun: called by whatever the end waits for.
  void settle();

  static Environment& of(const Napi::CallbackInfo& info) { return *static_cast<Environment*>(info.Data()); }

  const napi_env env;
  Arena arena;
  Files files;
  Regions regions;
  Jobs jobs;
  Watches watches;

 private:
  static void begin(napi_async_cleanup_hook_handle hook, void* data);

  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool ending_ = false;
};

}  // namespace host

#endif
