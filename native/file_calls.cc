// Opening, owning and closing. Every fd made here is close-on-exec from its first moment.
#include <fcntl.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <string>

#include "calls.h"

namespace host {

namespace {

Napi::Value open(const Napi::CallbackInfo& info) {
  std::string path;
  int32_t flags = 0;
  if (!readPath(info.Env(), info[0], "path", &path) || !readInt32(info.Env(), info[1], "flags", &flags)) return {};
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EINTR);
  return toResult(info, fd < 0 ? -errno : Environment::of(info).files.adopt(fd));
}

Napi::Value duplicate(const Napi::CallbackInfo& info) {
  int32_t fd = -1;
  if (!readInt32(info.Env(), info[0], "fd", &fd)) return {};
  const int duplicated = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return toResult(info, duplicated < 0 ? -errno : Environment::of(info).files.adopt(duplicated));
}

Napi::Value createEventfd(const Napi::CallbackInfo& info) {
  uint32_t initial = 0;
  if (!readUint32(info.Env(), info[0], "initial", &initial)) return {};
  const int fd = eventfd(initial, EFD_CLOEXEC | EFD_NONBLOCK);
  return toResult(info, fd < 0 ? -errno : Environment::of(info).files.adopt(fd));
}

template <int (Files::*act)(int)>
Napi::Value onFile(const Napi::CallbackInfo& info) {
  int32_t fd = -1;
  if (!readInt32(info.Env(), info[0], "fd", &fd)) return {};
  return toResult(info, (Environment::of(info).files.*act)(fd));
}

Napi::Value ownedFds(const Napi::CallbackInfo& info) {
  return toResult(info, static_cast<int64_t>(Environment::of(info).files.owned()));
}

}  // namespace

void defineFileCalls(Napi::Object exports, Environment* environment) {
  define<open>(exports, "open", environment);
  define<duplicate>(exports, "duplicate", environment);
  define<createEventfd>(exports, "createEventfd", environment);
  define<onFile<&Files::own>>(exports, "own", environment);
  define<onFile<&Files::disown>>(exports, "disown", environment);
  define<onFile<&Files::close>>(exports, "close", environment);
  define<ownedFds>(exports, "ownedFds", environment);
}

}  // namespace host
