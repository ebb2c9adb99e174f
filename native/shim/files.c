// Calls on files of the emulated machine, as requests to the server.
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

// As the kernel has it.
#define MAX_RW_COUNT (INT_MAX & ~4095)
#define MAX_PARTS 1024

// Where a thread says which allocation of the kernel's is to fail.
static bool is_fail_nth(const char *path) {
  static const char name[] = "/fail-nth";
  const size_t length = strlen(path);
  if (strncmp(path, "/proc/", 6) != 0 || length < sizeof(name)) return false;
  if (strcmp(path + length - sizeof(name) + 1, name) != 0) return false;
  return strncmp(path + 6, "self/", 5) == 0 || strncmp(path + 6, "thread-self/", 12) == 0;
}

bool file_is_path(const char *path) {
  if (strncmp(path, "/dev/", 5) != 0) return is_fail_nth(path);
  if (strncmp(path + 5, "vfio/", 5) != 0) return strcmp(path + 5, "iommu") == 0;
  // A folder.
  return strcmp(path + 10, "") != 0 && strcmp(path + 10, "devices") != 0 && strcmp(path + 10, "devices/") != 0;
}

// A call that makes a file: gives the request a socket that will stand for it. What is not used goes again.
static int64_t call_with_spare(struct request *request, struct reply *reply, bool close_on_exec) {
  request->spare = link_new_file(close_on_exec, &request->spare_file);
  if (request->spare >= 0) mark(request->spare);
  const int64_t result = link_call(request, reply);
  if (request->spare < 0 || (reply->flags & REPLY_SPARE_USED) != 0) return result;
  unmark(request->spare);
  raw(SYS_close, request->spare);
  return result;
}

int file_open(const char *path, int flags) {
  struct request request = {
      .operation = OP_OPEN,
      .args = {(uint64_t)(uintptr_t)path, (uint64_t)(unsigned int)flags},
  };
  struct reply reply;
  const int64_t result = call_with_spare(&request, &reply, (flags & O_CLOEXEC) != 0);
  if (result < 0) return (int)result;
  if ((flags & O_NONBLOCK) != 0) raw(SYS_fcntl, request.spare, F_SETFL, O_NONBLOCK);
  return request.spare;
}

int64_t file_ioctl(uint64_t file, uint32_t command, uint64_t argument) {
  struct request request = {
      .operation = OP_IOCTL,
      .command = command,
      .file = file,
      .args = {argument},
      .spare = -1,
  };
  struct reply reply;
  const int64_t result = link_call(&request, &reply);
  if ((reply.flags & REPLY_NEEDS_SPARE) == 0) return result;
  return call_with_spare(&request, &reply, true);
}

// Takes one of the bytes off that the server put there when something came; -1 where there is none.
static int drain(int fd) {
  unsigned char byte = 0;
  const int before = errno;
  const long got = raw(SYS_recvfrom, fd, &byte, sizeof(byte), MSG_DONTWAIT, NULL, NULL);
  errno = before;
  return got == 1 ? byte : -1;
}
// Takes the byte off that says what is read by now. Another reader may have taken that, so that this one took what says that
// something came since: it has to lie there again.
static void drain_sign(int fd, uint64_t file, unsigned int sign) {
  const int taken = drain(fd);
  if (taken < 0 || (unsigned int)taken == sign) return;
  struct request request = {.operation = OP_SIGN, .file = file, .spare = -1};
  struct reply reply;
  link_call(&request, &reply);
}

int64_t file_transfer(enum operation operation, int fd, uint64_t file, const void *at, size_t length, int64_t position) {
  for (;;) {
    struct request request = {
        .operation = operation,
        .file = file,
        .args = {(uint64_t)(uintptr_t)at, length < MAX_RW_COUNT ? length : MAX_RW_COUNT, (uint64_t)position},
        .spare = -1,
    };
    struct reply reply;
    const int64_t result = link_call(&request, &reply);
    if ((reply.flags & REPLY_DRAIN) != 0) drain_sign(fd, file, reply.sign);
    // A byte of a reader that was killed before it took it. If it was a new one, there is something to read by now.
    if ((reply.flags & REPLY_EMPTY) == 0 || drain(fd) < 0) return result;
  }
}

// Linux hands such files one part after the other, unless they take several: none of these does (loop_rw).
int64_t file_vector(enum operation operation, int fd, uint64_t file, const struct iovec *parts, int count,
                    int64_t position) {
  if (count < 0 || count > MAX_PARTS) return -EINVAL;
  if (!may_be_read(parts, (size_t)count * sizeof(*parts))) return -EFAULT;
  int64_t done = 0;
  for (int i = 0; i < count; i++) {
    if (parts[i].iov_len == 0) continue;
    const int64_t result =
        file_transfer(operation, fd, file, parts[i].iov_base, parts[i].iov_len, position + done);
    if (result < 0) return done > 0 ? done : result;
    done += result;
    if ((size_t)result < parts[i].iov_len) break;
  }
  return done;
}
