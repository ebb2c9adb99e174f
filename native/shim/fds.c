// The calls that give files fds, or take them: the kernel carries all of them out, since the files are sockets to it. Here only
// the marks follow.
#include "real.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define SHOWN __attribute__((visibility("default")))
// CLOSE_RANGE_UNSHARE
#define UNSHARES 2

// Only newer headers have it.
SHOWN int close_range(unsigned int first, unsigned int last, int flags);

static int follow(int from, int to) {
  if (to >= 0 && is_marked(from)) mark(to);
  return to;
}

SHOWN int close(int fd) {
  if (is_marked(fd)) unmark(fd);
  return real()->close(fd);
}
SHOWN int dup(int fd) {
  return follow(fd, real()->dup(fd));
}
SHOWN int dup2(int fd, int to) {
  return follow(fd, real()->dup2(fd, to));
}
SHOWN int dup3(int fd, int to, int flags) {
  return follow(fd, real()->dup3(fd, to, flags));
}
SHOWN int fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  const int result = real()->fcntl(fd, command, argument);
  return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? follow(fd, result) : result;
}

// The marks are those of all threads.
SHOWN int unshare(int flags) {
  if ((flags & CLONE_FILES) != 0) keep_marks();
  return (int)raw(SYS_unshare, flags);
}
SHOWN int close_range(unsigned int first, unsigned int last, int flags) {
  if ((flags & UNSHARES) != 0) keep_marks();
  return (int)raw(SYS_close_range, first, last, flags);
}
SHOWN int prctl(int option, ...) {
  va_list list;
  va_start(list, option);
  unsigned long a[4];
  for (int i = 0; i < 4; i++) a[i] = va_arg(list, unsigned long);
  va_end(list);
  if (option == PR_SET_SECCOMP) stop_probing();
  return (int)raw(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

// Whatever came with a message may be a file: who looks at it will see.
static void mark_passed(struct msghdr *message) {
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      uint64_t file = 0;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
      if (link_is_ours(fd, &file)) mark(fd);
    }
  }
}
SHOWN ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  const ssize_t result = real()->recvmsg(fd, message, flags);
  if (result >= 0 && server_path[0] != '\0' && message->msg_controllen > 0) mark_passed(message);
  return result;
}
SHOWN int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout) {
  const int result = real()->recvmmsg(fd, messages, count, flags, timeout);
  if (server_path[0] == '\0') return result;
  for (int i = 0; i < result; i++) {
    if (messages[i].msg_hdr.msg_controllen > 0) mark_passed(&messages[i].msg_hdr);
  }
  return result;
}
