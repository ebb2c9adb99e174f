#include "watches.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "callback.h"
#include "environment.h"

namespace host {

int64_t Watches::open(int fd, napi_value onReadable) {
  // Before there is an epoll instance, which would take the number of an fd that is not open.
  if (fcntl(fd, F_GETFD) < 0) return -errno;
  auto watch = std::make_unique<Watch>(Watch{{}, environment_, 0, -1, nullptr, nullptr});
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return -errno;
  epoll_event event{};
  event.events = EPOLLIN;
  int error = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
  if (error == 0) error = uv_poll_init(loop_, &watch->poll, epoll);
  if (error < 0) {
    ::close(epoll);
    return error;
  }
  watch->epoll = epoll;
  environment_->files.reserve(epoll);

  // From here on the handle is libuv's, and failures close it as anything does.
  Watch* const opened = watch.release();
  all_.insert(opened);
  const napi_env env = environment_->env;
  napi_value name = nullptr;
  if (napi_create_string_utf8(env, "iommufd:watch", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_reference(env, onReadable, 1, &opened->onReadable) != napi_ok ||
      napi_async_init(env, nullptr, name, &opened->context) != napi_ok) {
    close(opened);
    return -ENOMEM;
  }
  opened->number = slots_.add(opened);
  if (opened->number != 0) return opened->number;
  close(opened);
  return -ENFILE;
}

void Watches::arm(Watch* watch) { uv_poll_start(&watch->poll, UV_READABLE, readable); }

void Watches::disarm(Watch* watch) { uv_poll_stop(&watch->poll); }

void Watches::ref(Watch* watch) { uv_ref(reinterpret_cast<uv_handle_t*>(&watch->poll)); }

void Watches::unref(Watch* watch) { uv_unref(reinterpret_cast<uv_handle_t*>(&watch->poll)); }

// Errors of the poll are told as readable too: the read that follows says what is wrong.
void Watches::readable(uv_poll_t* poll, int, int) {
  const Watch* const watch = reinterpret_cast<Watch*>(poll);
  const napi_env env = watch->environment->env;
  uv_poll_stop(poll);
  Napi::HandleScope scope(env);
  napi_value onReadable = nullptr;
  if (napi_get_reference_value(env, watch->onReadable, &onReadable) != napi_ok || onReadable == nullptr) return;
  // May close the watch, which lives until closed() all the same.
  callBack(env, watch->context, onReadable, 0, nullptr);
}

void Watches::close(Watch* watch) {
  uv_handle_t* const handle = reinterpret_cast<uv_handle_t*>(&watch->poll);
  if (uv_is_closing(handle)) return;
  slots_.remove(watch->number);
  uv_close(handle, closed);
  // libuv has taken it out of its own epoll set in uv_close.
  environment_->files.closeReserved(watch->epoll);
}

void Watches::closed(uv_handle_t* handle) {
  const std::unique_ptr<Watch> watch(reinterpret_cast<Watch*>(handle));
  Environment& environment = *watch->environment;
  Napi::HandleScope scope(environment.env);
  if (watch->onReadable != nullptr) napi_delete_reference(environment.env, watch->onReadable);
  if (watch->context != nullptr) napi_async_destroy(environment.env, watch->context);
  environment.watches.all_.erase(watch.get());
  environment.settle();
}

void Watches::closeAll() {
  const std::vector<Watch*> all(all_.begin(), all_.end());
  for (Watch* const watch : all) close(watch);
}

}  // namespace host
