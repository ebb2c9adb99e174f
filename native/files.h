// The fds of one environment: which it owns, and which the thread pool is using. An fd that is not owned is never
// closed, since it may be anyone's by now.
#ifndef NATIVE_FILES_H
#define NATIVE_FILES_H

#include <cstddef>
#include <cstdint>
#include <unordered_map>

namespace host {

class Files {
 public:
  // For fds just made: close-on-exec already.
  int adopt(int fd);
  // For fds from elsewhere: -EBADF where it is not open, -EEXIST where it is ours already.
  int own(int fd);
  // -EBUSY while the thread pool uses it, which could not be told when to stop.
  int disown(int fd);
  // Closes, or where the thread pool uses the fd leaves that to the last work.
  int close(int fd);
  size_t owned() const;

  // Marks an fd that belongs to a region or a watch, so that own() cannot make it belong to two.
  void reserve(int fd);
  // Closes a reserved fd.
  void closeReserved(int fd);

  // Keeps an owned fd open until release() of the token. 0 where it is not ours: others are their owner's to keep open.
  uint64_t hold(int fd);
  void release(int fd, uint64_t token);

  // Newest first: what was made later may hang from what was made earlier.
  void closeAll();

 private:
  enum class State : uint8_t { owned, closing, reserved };

  struct File {
    // Tells a file from a later one under the same number. From 1.
    uint64_t age;
    uint32_t uses;
    State state;
  };

  File* find(int fd, State state);

  std::unordered_map<int, File> files_;
  uint64_t ages_ = 1;
};

}  // namespace host

#endif
