// The number of a process that ended is another one's, while what it left to a child is there still: that one of a stranger, or of
// the child's own child. Prints "not allowed" where nobody may choose the number of a process.
#include "program.h"

#include <sys/prctl.h>

enum { TRIES = 300 };

// Of this process's next child. Others may take it before.
static int choose_next(pid_t number) {
  char text[32];
  const int length = snprintf(text, sizeof(text), "%d", number - 1);
  const int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
  if (fd < 0) return -1;
  const ssize_t written = write(fd, text, (size_t)length);
  close(fd);
  return written == length ? 0 : -1;
}
// A process of that number calls; answers whether there was one.
static int another(pid_t number) {
  for (int i = 0; i < TRIES; i++) {
    if (choose_next(number) != 0) return 0;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      if (getpid() == number) alloc_ioas(open_iommu());
      _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (child == number) return 1;
  }
  return 0;
}
// Makes a call, and ends, and leaves a child that waits for a byte, and then has a child of that number. Answers its number.
static pid_t predecessor(const int go[2], const int done[2]) {
  const pid_t number = fork();
  CHECK(number >= 0);
  if (number != 0) return number;
  const pid_t own = getpid();
  alloc_ioas(open_iommu());
  if (fork() == 0) {
    char byte = 0;
    CHECK(read(go[0], &byte, 1) == 1);
    byte = another(own) ? 'y' : 'n';
    CHECK(write(done[1], &byte, 1) == 1);
    _exit(0);
  }
  kill(own, SIGKILL);
  return 0;
}

int main(void) {
  int go[2], done[2];
  CHECK(pipe(go) == 0 && pipe(done) == 0);
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  const pid_t number = predecessor(go, done);
  CHECK(waitpid(number, NULL, 0) == number);
  const int first = another(number);
  char byte = 'n';
  CHECK(write(go[1], "x", 1) == 1 && read(done[0], &byte, 1) == 1 && wait(NULL) > 0);
  puts(first && byte == 'y' ? "another" : "not allowed");
  return 0;
}
