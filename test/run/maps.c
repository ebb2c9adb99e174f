// Memory of the program's is mapped, copied to another IOAS, written by the mock and read back, and unmapped.
#include "program.h"

enum { LENGTH = 16 * 4096, WRITE = 1 };

static char seen[LENGTH];

static void private_memory(int fd) {
  const uint32_t ioas = alloc_ioas(fd);
  char *own = memory(LENGTH);
  for (int i = 0; i < LENGTH; i++) own[i] = (char)(i * 7 + i / 4096);
  const uint64_t iova = map(fd, ioas, own, LENGTH);
  const int access = create_access(fd, ioas);
  CHECK(access >= 0 && fcntl(access, F_GETFD) == FD_CLOEXEC);
  CHECK(access_memory(fd, access, iova, seen, LENGTH, 0) == 0);
  CHECK(memcmp(seen, own, LENGTH) == 0);
  // Across a page's end, at an odd place.
  memset(seen, 'x', 5000);
  CHECK(access_memory(fd, access, iova + 4001, seen, 5000, WRITE) == 0);
  CHECK(own[4000] == (char)(4000 * 7) && own[4001] == 'x' && own[9000] == 'x' && own[9001] == (char)(9001 * 7 + 2));

  const uint32_t other = alloc_ioas(fd);
  struct ioas_copy copy = {
      .size = sizeof(copy), .flags = READABLE | WRITABLE, .to = other, .from = ioas, .length = LENGTH, .from_iova = iova};
  CHECK(ioctl(fd, IOAS_COPY, &copy) == 0);
  const int second = create_access(fd, other);
  own[5] = 'y';
  CHECK(access_memory(fd, second, copy.to_iova, seen, 4096, 0) == 0);
  CHECK(seen[5] == 'y');

  struct ioas_unmap unmap = {.size = sizeof(unmap), .ioas = ioas, .iova = iova, .length = LENGTH};
  CHECK(ioctl(fd, IOAS_UNMAP, &unmap) == 0);
  CHECK(unmap.length == LENGTH);
  REFUSED(ENOENT, access_memory(fd, access, iova, seen, 1, 0));
  CHECK(access_memory(fd, second, copy.to_iova, seen, 1, 0) == 0);
  CHECK(close(access) == 0 && close(second) == 0);
  CHECK(destroy(fd, other) == 0 && destroy(fd, ioas) == 0);
  CHECK(munmap(own, LENGTH) == 0);
}

static void file_memory(int fd) {
  const int file = memfd_create("memory", 0);
  CHECK(file >= 0 && ftruncate(file, LENGTH) == 0);
  char *own = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  CHECK(own != MAP_FAILED);
  memset(own, 'f', LENGTH);
  const uint32_t ioas = alloc_ioas(fd);
  struct ioas_map_file argument = {
      .size = sizeof(argument), .flags = READABLE | WRITABLE, .ioas = ioas, .fd = file, .start = 4096, .length = 8192};
  CHECK(ioctl(fd, IOAS_MAP_FILE, &argument) == 0);
  const int access = create_access(fd, ioas);
  CHECK(access_memory(fd, access, argument.iova, "written", 8, WRITE) == 0);
  CHECK(strcmp(own + 4096, "written") == 0);
  // What the mapping was is the kernel's: the program's own goes.
  CHECK(munmap(own, LENGTH) == 0 && close(file) == 0);
  CHECK(access_memory(fd, access, argument.iova, seen, 8, 0) == 0);
  CHECK(strcmp(seen, "written") == 0);
  CHECK(close(access) == 0);
}

// Pages that are pinned stay what they are for devices, whatever the program does with its addresses.
static void unmapped_while_pinned(int fd) {
  const uint32_t ioas = alloc_ioas(fd);
  struct test_cmd domain = {.size = sizeof(domain), .operation = MOCK_DOMAIN, .id = ioas};
  CHECK(ioctl(fd, TEST_CMD, &domain) == 0);
  char *own = memory(4 * 4096);
  strcpy(own, "kept");
  strcpy(own + 4096, "dropped");
  const uint64_t iova = map(fd, ioas, own, 4 * 4096);
  CHECK(munmap(own, 4096) == 0);
  CHECK(madvise(own + 4096, 4096, MADV_DONTNEED) == 0);
  CHECK(own[4096] == 0);
  // The mock reads pinned pages where it is told to take the slow path.
  const int access = create_access(fd, ioas);
  CHECK(access_memory(fd, access, iova, seen, 2 * 4096, 4) == 0);
  CHECK(strcmp(seen, "kept") == 0 && strcmp(seen + 4096, "dropped") == 0);
  CHECK(close(access) == 0);
}

int main(void) {
  const int fd = open_iommu();
  private_memory(fd);
  file_memory(fd);
  unmapped_while_pinned(fd);
  CHECK(close(fd) == 0);
  puts("mapped");
  return 0;
}
