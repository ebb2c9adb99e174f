// What the kernel does with fds holds for those of the emulated machine: duplicates, inheritance by fork and exec, passing to
// other processes, and what is refused with which errno.
#include "program.h"

#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static void refusals(void) {
  const int fd = open_iommu();
  const int null = open("/dev/null", O_RDWR);
  struct ioas_alloc argument = {.size = sizeof(argument)};
  REFUSED(ENOTTY, ioctl(null, IOAS_ALLOC, &argument));
  REFUSED(EBADF, ioctl(1000, IOAS_ALLOC, &argument));
  REFUSED(EBADF, ioctl(-1, IOAS_ALLOC, &argument));
  REFUSED(ENOTTY, ioctl(fd, 0x3bff, &argument));
  REFUSED(EFAULT, ioctl(fd, IOAS_ALLOC, (void *)8));
  REFUSED(EFAULT, ioctl(fd, IOAS_ALLOC, (void *)-4096l));
  REFUSED(EINVAL, read(fd, &argument, sizeof(argument)));
  REFUSED(EINVAL, write(fd, &argument, sizeof(argument)));
  REFUSED(ENOENT, open("/dev/vfio/devices/vfio99", O_RDWR));
  REFUSED(ESPIPE, lseek(fd, 0, SEEK_SET));
  // The struct's page ends before it does, and then it cannot be written back.
  char *pages = memory(2 * 4096);
  CHECK(mprotect(pages + 4096, 4096, PROT_NONE) == 0);
  struct ioas_alloc *edge = (struct ioas_alloc *)(pages + 4096 - 8);
  edge->size = sizeof(*edge);
  REFUSED(EFAULT, ioctl(fd, IOAS_ALLOC, edge));
  struct ioas_alloc *fixed = (struct ioas_alloc *)pages;
  fixed->size = sizeof(*fixed);
  CHECK(mprotect(pages, 4096, PROT_READ) == 0);
  REFUSED(EFAULT, ioctl(fd, IOAS_ALLOC, fixed));
  CHECK(close(fd) == 0 && close(null) == 0);
  REFUSED(EBADF, close(fd));
  REFUSED(EBADF, ioctl(fd, IOAS_ALLOC, &argument));
}

// Of a queue that has nothing: each answers so, and does not wait.
static void vectors(void) {
  const int fd = open_iommu();
  struct fault_alloc fault = {.size = sizeof(fault)};
  CHECK(ioctl(fd, FAULT_QUEUE_ALLOC, &fault) == 0);
  char record[40];
  const struct iovec part = {.iov_base = record, .iov_len = sizeof(record)};
  const int queue = (int)fault.fd;
  CHECK(readv(queue, &part, 1) == 0 && preadv2(queue, &part, 1, -1, 0) == 0 && syscall(SYS_readv, queue, &part, 1) == 0);
  REFUSED(EOPNOTSUPP, preadv2(queue, &part, 1, -1, RWF_NOWAIT));
  REFUSED(EINVAL, pwritev2(fd, &part, 1, -1, 0));
  CHECK(close(queue) == 0 && close(fd) == 0);
}

static void duplicates(void) {
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  const int copies[] = {dup(fd), dup2(fd, 77), dup3(fd, 78, O_CLOEXEC), fcntl(fd, F_DUPFD_CLOEXEC, 90)};
  CHECK(copies[1] == 77 && copies[2] == 78 && copies[3] >= 90);
  CHECK(close(fd) == 0);
  for (int i = 0; i < 4; i++) {
    struct ioas_alloc argument = {.size = sizeof(argument)};
    CHECK(ioctl(copies[i], IOAS_ALLOC, &argument) == 0 && argument.id == ioas + 1 + (uint32_t)i);
  }
  // A number that another file has by now.
  const int null = open("/dev/null", O_RDWR);
  CHECK(dup2(null, 77) == 77);
  REFUSED(ENOTTY, ioctl(77, DESTROY, &(struct destroy){8, ioas}));
  CHECK(write(77, "x", 1) == 1);
  CHECK(destroy(78, ioas) == 0);
  // By number, and behind the shim's back.
  CHECK(syscall(SYS_ioctl, 78, DESTROY, &(struct destroy){8, ioas + 1}) == 0);
  // Those of a process, its own here.
  const int own = pidfd_open(getpid(), 0);
  const int got = pidfd_getfd(own, 78, 0);
  CHECK(got >= 0 && destroy(got, ioas + 2) == 0 && close(got) == 0 && close(own) == 0);
  for (int i = 0; i < 4; i++) CHECK(close(copies[i]) == 0);
}

static void children(void) {
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  const pid_t child = fork();
  if (child == 0) {
    CHECK(destroy(fd, ioas) == 0);
    CHECK(close(fd) == 0);
    _exit(7);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  REFUSED(ENOENT, destroy(fd, ioas));
  // The lowest id that is free.
  CHECK(alloc_ioas(fd) == ioas);
  CHECK(close(fd) == 0);
}

static void passed(void) {
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const int fd = open_iommu();
    CHECK(alloc_ioas(fd) == 1 && alloc_ioas(fd) == 2);
    char byte = 0, control[CMSG_SPACE(sizeof(fd))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    CHECK(sendmsg(pair[1], &message, 0) == 1);
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  CHECK(recvmsg(pair[0], &message, 0) == 1);
  int fd = -1;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
  CHECK(destroy(fd, 2) == 0);
  REFUSED(ENOENT, destroy(fd, 2));
  CHECK(close(fd) == 0 && close(pair[0]) == 0 && close(pair[1]) == 0);
}

static void executed(const char *self) {
  const int kept = open_iommu();
  const int gone = open("/dev/iommu", O_RDWR | O_CLOEXEC);
  const uint32_t ioas = alloc_ioas(kept);
  const pid_t child = fork();
  if (child == 0) {
    char numbers[3][16];
    snprintf(numbers[0], 16, "%d", kept);
    snprintf(numbers[1], 16, "%d", gone);
    snprintf(numbers[2], 16, "%u", ioas);
    execl(self, self, numbers[0], numbers[1], numbers[2], NULL);
    _exit(99);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 5);
  REFUSED(ENOENT, destroy(kept, ioas));
  CHECK(close(kept) == 0 && close(gone) == 0);
}

static int after_exec(char **arguments) {
  REFUSED(EBADF, destroy(atoi(arguments[2]), 1));
  CHECK(destroy(atoi(arguments[1]), (uint32_t)atoi(arguments[3])) == 0);
  return 5;
}

int main(int count, char **arguments) {
  if (count == 4) return after_exec(arguments);
  refusals();
  duplicates();
  vectors();
  children();
  passed();
  executed(arguments[0]);
  puts("kept");
  return 0;
}
