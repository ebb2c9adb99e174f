#include "environment.h"

#include <cerrno>

namespace host {

Environment::Environment(napi_env itsEnv) : env(itsEnv), regions(&files), jobs(this), watches(this) {}

// By now settle() has run to its end, unless start() failed. Only the arena is left, last of all, since V8 may have
// held its ArrayBuffer until now.
Environment::~Environment() { arena.unmap(); }

int Environment::start() {
  const int error = arena.map();
  if (error < 0) return error;
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return -ENOSYS;
  watches.setLoop(loop);
  return napi_add_async_cleanup_hook(env, begin, this, &hook_) == napi_ok ? 0 : -ENOMEM;
}

// No JavaScript runs from here on. First what may still call us: watches, whose handles libuv closes on a later turn,
// and work on the thread pool, which cannot be stopped once it runs.
void Environment::begin(napi_async_cleanup_hook_handle, void* data) {
  Environment* const self = static_cast<Environment*>(data);
  self->ending_ = true;
  self->watches.closeAll();
  self->jobs.cancelQueued();
  self->settle();
}

// Then what nothing uses any more: files before regions, so that a device that a file stands for has let go of the
// memory before the memory goes.
void Environment::settle() {
  if (!ending_ || hook_ == nullptr || !watches.empty() || !jobs.empty()) return;
  files.closeAll();
  Napi::HandleScope scope(env);
  regions.unmapAll(env);
  arena.forgetBuffer(env);
  const napi_async_cleanup_hook_handle hook = hook_;
  hook_ = nullptr;
  napi_remove_async_cleanup_hook(hook);
}

}  // namespace host
