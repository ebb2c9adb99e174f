#include "bus_error.h"

#include <signal.h>

#include <cerrno>
#include <mutex>

namespace host {

thread_local GuardedAccess* volatile guardedAccess = nullptr;

namespace {

struct sigaction before;

// Whoever was here before may pass it on too, and to us: then it is nobody's.
thread_local volatile bool passing = false;

// Whoever had the signal before, or its default.
void passOn(int number, siginfo_t* info, void* context) {
  // Somebody sent it: no access is behind it.
  const bool sent = info->si_code <= 0;
  if (passing) {
    signal(number, SIG_DFL);
    return;
  }
  passing = true;
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(number, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else if (!sent || before.sa_handler == SIG_DFL) {
    // The fault happens again once this returns, and ends the process then.
    signal(number, SIG_DFL);
    if (sent) raise(number);
  }
  passing = false;
}

void onBusError(int number, siginfo_t* info, void* context) {
  GuardedAccess* const guard = guardedAccess;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (guard != nullptr && address - guard->address < guard->width) siglongjmp(guard->place, 1);
  passOn(number, info, context);
}

int install() {
  struct sigaction current = {};
  if (sigaction(SIGBUS, nullptr, &current) != 0) return -errno;
  if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == onBusError) return 0;
  before = current;
  struct sigaction action = {};
  action.sa_sigaction = onBusError;
  // Not blocked while it is handled: the handler may be left by a jump, which restores no mask.
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, nullptr) == 0 ? 0 : -errno;
}

}  // namespace

int catchBusErrors() {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  return install();
}

}  // namespace host
