// A program that only the effective user may run takes the place of one whose memory a device reaches: that is kept. Prints "not
// allowed" where this is not root.
#include "program.h"

#include <stdbool.h>
#include <sys/stat.h>

// MOCK_ACCESS_RW_SLOW_PATH
enum { PINNED = 4, IOVA = 0x2000000 };

int main(int count, char **arguments) {
  if (count > 1 && geteuid() == 0) return 0;
  if (geteuid() != 0) {
    puts("not allowed");
    return 0;
  }
  CHECK(chmod(arguments[0], 0700) == 0);
  const int fd = open_iommu();
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
  const int access_file = create_access(fd, ioas);
  const pid_t child = fork();
  if (child == 0) {
    char *at = memory(8192);
    strcpy(at + 4094, "abc");
    CHECK(map_at(fd, ioas, at, 8192, IOVA) == 0);
    CHECK(setresuid(1000, 0, 0) == 0);
    execv(arguments[0], (char *[]){arguments[0], "again", NULL});
    CHECK(false);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  char seen[8] = "";
  CHECK(access_memory(fd, access_file, IOVA + 4094, seen, 4, PINNED) == 0 && strcmp(seen, "abc") == 0);
  CHECK(close(access_file) == 0);
  puts("kept");
  return 0;
}
