// Fds of another process, and its eventfds: for whoever answers a program's calls in a kernel's place.
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "calls.h"

namespace host {

namespace {

// The headers of older C libraries lack these; the numbers are the same everywhere.
constexpr long kPidfdOpen = 434;
constexpr long kPidfdGetfd = 438;

// A duplicate of another process's fd, which it must allow us to trace.
Napi::Value takeFd(const Napi::CallbackInfo& info) {
  int32_t pid = 0;
  int32_t fd = -1;
  if (!readInt32(info.Env(), info[0], "pid", &pid) || !readInt32(info.Env(), info[1], "fd", &fd)) return {};
  const auto process = static_cast<int>(syscall(kPidfdOpen, pid, 0));
  if (process < 0) return toResult(info, -errno);
  const auto taken = static_cast<int>(syscall(kPidfdGetfd, process, fd, 0));
  const int error = errno;
  ::close(process);
  return toResult(info, taken < 0 ? -error : Environment::of(info).files.adopt(taken));
}

bool isReady(int fd, int16_t events) {
  pollfd asked = {fd, events, 0};
  return poll(&asked, 1, 0) == 1 && (asked.revents & events) != 0;
}

// What a kernel does to an eventfd: it never waits, and a count that is full stays so.
Napi::Value signalEventfd(const Napi::CallbackInfo& info) {
  int32_t fd = -1;
  if (!readInt32(info.Env(), info[0], "fd", &fd)) return {};
  const uint64_t one = 1;
  if (!isReady(fd, POLLOUT)) return toResult(info, 0);
  return toResult(info, ::write(fd, &one, sizeof(one)) < 0 ? -errno : 0);
}

// Takes the count without waiting, whatever the fd's flags say; -EAGAIN where it is 0.
Napi::Value takeEventfd(const Napi::CallbackInfo& info) {
  int32_t fd = -1;
  if (!readInt32(info.Env(), info[0], "fd", &fd)) return {};
  uint64_t count = 0;
  const iovec part = {&count, sizeof(count)};
  // Eventfds know of that since Linux 5.8: pidfd_getfd is hardly older.
  const ssize_t taken = preadv2(fd, &part, 1, -1, RWF_NOWAIT);
  return toResult(info, taken < 0 ? -errno : 0);
}

}  // namespace

void definePeerCalls(Napi::Object exports, Environment* environment) {
  define<takeFd>(exports, "takeFd", environment);
  define<signalEventfd>(exports, "signalEventfd", environment);
  define<takeEventfd>(exports, "takeEventfd", environment);
}

}  // namespace host
