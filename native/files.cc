#include "files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace host {

namespace {

// Never retried: on Linux the fd is gone whatever close(2) answers, and a second call would hit a stranger's.
int closeOnce(int fd) { return ::close(fd) == 0 || errno == EINTR ? 0 : -errno; }

}  // namespace

Files::File* Files::find(int fd, State state) {
  const auto found = files_.find(fd);
  return found != files_.end() && found->second.state == state ? &found->second : nullptr;
}

int Files::adopt(int fd) {
  // The kernel gave out this number just now, so whatever is remembered of it was closed behind our back.
  files_.insert_or_assign(fd, File{ages_++, 0, State::owned});
  return fd;
}

int Files::own(int fd) {
  const int flags = fcntl(fd, F_GETFD);
  if (flags < 0) return -errno;
  const auto found = files_.find(fd);
  if (found != files_.end()) return found->second.state == State::closing ? -EBADF : -EEXIST;
  if (fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) return -errno;
  files_.emplace(fd, File{ages_++, 0, State::owned});
  return 0;
}

int Files::disown(int fd) {
  const File* const file = find(fd, State::owned);
  if (file == nullptr) return -EBADF;
  if (file->uses > 0) return -EBUSY;
  files_.erase(fd);
  return 0;
}

int Files::close(int fd) {
  File* const file = find(fd, State::owned);
  if (file == nullptr) return -EBADF;
  if (file->uses > 0) {
    file->state = State::closing;
    return 0;
  }
  files_.erase(fd);
  return closeOnce(fd);
}

size_t Files::owned() const {
  return static_cast<size_t>(std::count_if(
      files_.begin(), files_.end(), [](const auto& entry) { return entry.second.state == State::owned; }));
}

void Files::reserve(int fd) { files_.insert_or_assign(fd, File{ages_++, 0, State::reserved}); }

void Files::closeReserved(int fd) {
  if (find(fd, State::reserved) == nullptr) return;
  files_.erase(fd);
  closeOnce(fd);
}

uint64_t Files::hold(int fd) {
  File* const file = find(fd, State::owned);
  if (file == nullptr) return 0;
  file->uses++;
  return file->age;
}

void Files::release(int fd, uint64_t token) {
  const auto found = files_.find(fd);
  if (found == files_.end() || found->second.age != token) return;
  if (--found->second.uses > 0 || found->second.state != State::closing) return;
  files_.erase(found);
  closeOnce(fd);
}

void Files::closeAll() {
  std::vector<std::pair<uint64_t, int>> byAge;
  for (const auto& [fd, file] : files_) {
    if (file.state != State::reserved) byAge.emplace_back(file.age, fd);
  }
  std::sort(byAge.rbegin(), byAge.rend());
  for (const auto& [age, fd] : byAge) {
    files_.erase(fd);
    closeOnce(fd);
  }
}

}  // namespace host
