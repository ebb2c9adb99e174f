// Pinned memory stays the program's own where nothing of it goes: after calls that the kernel refuses, after MADV_FREE, in a
// program that closes every fd that it does not know, and while children of vfork run other programs.
#include "program.h"

#include <dirent.h>

enum { LENGTH = 2 * 4096, EDGE = 4094, BY_PAGES = 4, WRITE = 1 };

static int iommu, access_file;
static uint32_t ioas;

// Two pages that are pinned, and a text across their border.
struct pinned {
  char *at;
  uint64_t iova;
};
static struct pinned pin(void) {
  struct pinned pinned = {.at = memory(LENGTH)};
  strcpy(pinned.at + EDGE, "before");
  pinned.iova = map(iommu, ioas, pinned.at, LENGTH);
  return pinned;
}
static void check_same(struct pinned pinned) {
  char seen[8] = "";
  strcpy(pinned.at + EDGE, "mine");
  CHECK(access_memory(iommu, access_file, pinned.iova + EDGE, seen, sizeof("mine"), BY_PAGES) == 0);
  CHECK(strcmp(seen, "mine") == 0);
  CHECK(access_memory(iommu, access_file, pinned.iova + EDGE, "device", sizeof("device"), BY_PAGES | WRITE) == 0);
  CHECK(strcmp(pinned.at + EDGE, "device") == 0);
}

static void refusals(void) {
  const struct pinned pinned = pin();
  char *at = pinned.at;
  REFUSED(EINVAL, munmap(at + 1, 4096));
  REFUSED(EINVAL, munmap(at, SIZE_MAX));
  REFUSED(EINVAL, munmap(at, 0));
  REFUSED(EINVAL, madvise(at + 1, 4096, MADV_DONTNEED));
  REFUSED(EINVAL, madvise(at, 4096, MADV_REMOVE));
  CHECK(mmap(at, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE, 999, 0) == MAP_FAILED && errno == EBADF);
  CHECK(mmap(at + 1, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mremap(at, LENGTH, 4096, 64) == MAP_FAILED && errno == EINVAL);
  CHECK(mremap(at + 1, LENGTH, 4096, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mremap(at, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, at + 4096) == MAP_FAILED && errno == EINVAL);
  check_same(pinned);
  // As long as before, once it is rounded up.
  CHECK(mremap(at, LENGTH, 4097, 0) == at);
  check_same(pinned);
}

static void free_pages(void) {
  const struct pinned pinned = pin();
  CHECK(madvise(pinned.at, LENGTH, MADV_FREE) == 0);
  check_same(pinned);
}

static int count_fds(void) {
  DIR *folder = opendir("/proc/self/fd");
  CHECK(folder != NULL);
  int count = 0;
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}
static void children(void) {
  const struct pinned pinned = pin();
  const int before = count_fds();
  for (int i = 0; i < 8; i++) {
    const pid_t child = vfork();
    if (child == 0) {
      if (i % 2 == 0) execv("/bin/true", (char *[]){"true", NULL});
      _exit(i % 2 == 0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(destroy(iommu, alloc_ioas(iommu)) == 0);
  }
  CHECK(count_fds() == before);
  check_same(pinned);
}

static void closed_fds(void) {
  const struct pinned pinned = pin();
  const int last = iommu > access_file ? iommu : access_file;
  CHECK(close_range((unsigned int)last + 1, ~0u, 0) == 0);
  check_same(pinned);
  closefrom(last + 1);
  // Still told of what goes.
  strcpy(pinned.at + EDGE, "gone");
  CHECK(munmap(pinned.at, LENGTH) == 0);
  char seen[8] = "";
  CHECK(access_memory(iommu, access_file, pinned.iova + EDGE, seen, sizeof("gone"), BY_PAGES) == 0);
  CHECK(strcmp(seen, "gone") == 0);
}

int main(void) {
  iommu = open_iommu();
  ioas = alloc_ioas(iommu);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(iommu, TEST_CMD, &domain) == 0);
  access_file = create_access(iommu, ioas);
  refusals();
  free_pages();
  children();
  closed_fds();
  puts("kept");
  return 0;
}
