// A program that could not be run leaves its memory with the devices that reach it.
#include "program.h"

// MOCK_ACCESS_RW_SLOW_PATH: by the pages that are pinned, and not by the program's addresses, where they are several.
enum { WRITE = 1, PINNED = 4 };

static int iommu, access_file;
static uint64_t iova;
// The last bytes of a page and the first ones of the next.
static char *at;

static void is_reached(const char *text) {
  char seen[8] = "";
  strcpy(at, text);
  CHECK(access_memory(iommu, access_file, iova, seen, 4, PINNED) == 0 && strcmp(seen, text) == 0);
  CHECK(access_memory(iommu, access_file, iova, "dev", 4, PINNED | WRITE) == 0 && strcmp(at, "dev") == 0);
}

int main(void) {
  char *const arguments[] = {"program", NULL};
  char *const environment[] = {NULL};
  iommu = open_iommu();
  const uint32_t ioas = alloc_ioas(iommu);
  // Its page table pins what is mapped.
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(iommu, TEST_CMD, &domain) == 0);
  access_file = create_access(iommu, ioas);
  char *pages = memory(8192);
  at = pages + 4094;
  iova = map(iommu, ioas, pages, 8192) + 4094;
  is_reached("one");
  REFUSED(ENOENT, execv("/nonexistent", arguments));
  is_reached("two");
  REFUSED(EACCES, execve("/etc/passwd", arguments, environment));
  is_reached("thr");
  REFUSED(ENOENT, execvp("./nonexistent", arguments));
  is_reached("nam");
  REFUSED(ENOENT, execvp("no program has this name", arguments));
  is_reached("dir");
  REFUSED(EACCES, execve("/tmp", arguments, environment));
  is_reached("fou");
  CHECK(close(access_file) == 0);
  puts("reached");
  return 0;
}
