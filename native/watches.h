// Waiting for fds to become readable.
//
// Each watch has an epoll instance of its own with the fd in it, and libuv polls that. So an fd can be watched more than
// once (libuv takes a number once), the file behind it stays as blocking as it was (libuv makes what it polls
// non-blocking), is not kept open by the watch, and is forgotten for certain when the epoll instance is closed, whatever
// duplicates of the fd are around. And what cannot be polled is refused by epoll_ctl, not by an abort in libuv.
#ifndef NATIVE_WATCHES_H
#define NATIVE_WATCHES_H

#include <napi.h>
#include <uv.h>

#include <cstdint>
#include <unordered_set>

#include "slots.h"

namespace host {

struct Environment;

struct Watch {
  // First, so that libuv's handle is found from it and the other way round.
  uv_poll_t poll;
  Environment* environment;
  uint32_t number;
  int epoll;
  napi_ref onReadable;
  napi_async_context context;
};

class Watches {
 public:
  explicit Watches(Environment* environment) : environment_(environment) {}
  void setLoop(uv_loop_t* loop) { loop_ = loop; }

  // The number of a new watch, or -errno.
  int64_t open(int fd, napi_value onReadable);
  Watch* find(uint32_t number) const { return slots_.find(number); }
  void arm(Watch* watch);
  void disarm(Watch* watch);
  // Whether it keeps the process alive while it is armed; it never does otherwise.
  void ref(Watch* watch);
  void unref(Watch* watch);
  // The watch is gone for JavaScript at once, and its fds; libuv gives the handle back on a later turn.
  void close(Watch* watch);
  void closeAll();
  // Whether libuv has given all of them back.
  bool empty() const { return all_.empty(); }

 private:
  static void readable(uv_poll_t* poll, int status, int events);
  static void closed(uv_handle_t* handle);

  Environment* environment_;
  uv_loop_t* loop_ = nullptr;
  Slots<Watch> slots_;
  std::unordered_set<Watch*> all_;
};

}  // namespace host

#endif
