// Wild pointers: what is not there, or must not be read, is EFAULT, wherever in a path or an array it begins.
#include "program.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

int main(void) {
  char *page = memory(8192);
  CHECK(mprotect(page + 4096, 4096, PROT_NONE) == 0);
  char *const gone = page + 4096;
  struct stat status;
  char *const nothing[] = {NULL};
  const char *const paths[] = {gone, gone + 100, NULL, (char *)8, (char *)-8, (char *)1 + (1ull << 47)};
  for (unsigned int i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
    REFUSED(EFAULT, stat(paths[i], &status));
    REFUSED(EFAULT, lstat(paths[i], &status));
    REFUSED(EFAULT, access(paths[i], R_OK));
    REFUSED(EFAULT, open(paths[i], O_RDONLY));
    REFUSED(EFAULT, readlink(paths[i], page, 1));
    REFUSED(EFAULT, syscall(SYS_openat2, AT_FDCWD, paths[i], page, 24));
    REFUSED(EFAULT, execve(paths[i], nothing, nothing));
  }
  // Paths that go on where nothing is.
  const char *const starts[] = {"/dev/iomm", "/", "/sys/bus/pc", "/proc/self/statu"};
  for (unsigned int i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
    char *path = gone - strlen(starts[i]);
    memcpy(path, starts[i], strlen(starts[i]));
    REFUSED(EFAULT, stat(path, &status));
    REFUSED(EFAULT, open(path, O_RDONLY));
  }
  // One that ends with its page.
  CHECK(stat(strcpy(gone - sizeof("/dev/iommu"), "/dev/iommu"), &status) == 0 && S_ISCHR(status.st_mode));
  const int fd = open(gone - sizeof("/dev/iommu"), O_RDWR);
  CHECK(fd >= 0);
  REFUSED(EFAULT, readv(fd, (struct iovec *)gone, 1));
  REFUSED(EFAULT, writev(fd, (struct iovec *)(gone - sizeof(struct iovec)), 2));
  REFUSED(EFAULT, syscall(SYS_openat2, AT_FDCWD, "/dev/iommu", gone, 24));
  REFUSED(EFAULT, ioctl(fd, IOAS_ALLOC, gone));
  REFUSED(EINVAL, mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
  REFUSED(EINVAL, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 5) == MAP_FAILED ? -1 : 0);
  puts("refused");
  return 0;
}
