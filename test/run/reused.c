// The number of a process that ended is another one's, while a child of it, of the same image, has what it inherited. Prints "not
// allowed" where nobody may choose the number of a process.
#include "program.h"

#include <linux/sched.h>
#include <sys/syscall.h>

static pid_t fork_as(pid_t number) {
  struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&number, .set_tid_size = 1};
  return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}
// Makes a call, and ends; answers its number. The child that it leaves waits for a byte.
static pid_t predecessor(int wait_on) {
  const pid_t number = fork();
  CHECK(number >= 0);
  if (number != 0) return number;
  alloc_ioas(open_iommu());
  if (fork() == 0) {
    char byte = 0;
    CHECK(read(wait_on, &byte, 1) == 1);
    _exit(0);
  }
  kill(getpid(), SIGKILL);
  return 0;
}

int main(void) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  const pid_t number = predecessor(ends[0]);
  CHECK(waitpid(number, NULL, 0) == number);
  const pid_t next = fork_as(number);
  const int refusal = errno;
  if (next == 0) {
    alloc_ioas(open_iommu());
    _exit(0);
  }
  int status = 0;
  if (next > 0) CHECK(next == number && waitpid(next, &status, 0) == next && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(write(ends[1], "x", 1) == 1);
  errno = refusal;
  CHECK(next > 0 || refusal == EPERM || refusal == EEXIST || refusal == ENOSYS);
  puts(next > 0 ? "another" : "not allowed");
  return 0;
}
