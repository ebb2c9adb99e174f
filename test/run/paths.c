// What a program that looks for a device finds in /dev and sysfs, by any call that looks at paths.
#include "program.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>

// Programs that were linked against an older library call this by its old version.
#if defined(__GLIBC__) && defined(__x86_64__)
int older_stat(int version, const char *path, struct stat *status);
__asm__(".symver older_stat, __xstat@GLIBC_2.2.5");
#else
#define older_stat(version, path, status) stat(path, status)
#endif

#define DEVICE "/sys/bus/pci/devices/0000:01:00.0"

static void nodes(void) {
  struct stat status;
  CHECK(stat("/dev/iommu", &status) == 0 && S_ISCHR(status.st_mode) && major(status.st_rdev) == 10);
  CHECK(lstat("/dev/vfio/devices/vfio0", &status) == 0 && S_ISCHR(status.st_mode));
  const dev_t number = status.st_rdev;
  REFUSED(ENOENT, stat("/dev/vfio/devices/vfio1", &status));
  struct statx extended;
  CHECK(statx(AT_FDCWD, "/dev/vfio/devices/vfio0", 0, STATX_ALL, &extended) == 0 && S_ISCHR(extended.stx_mode));
  CHECK(syscall(SYS_statx, AT_FDCWD, "/dev/iommu", 0, STATX_ALL, &extended) == 0 && extended.stx_rdev_major == 10);
  CHECK(fstatat(AT_FDCWD, "/dev/iommu", &status, 0) == 0 && S_ISCHR(status.st_mode));
  CHECK(access("/dev/iommu", R_OK | W_OK) == 0);
  REFUSED(ENOENT, access("/dev/iommufd", R_OK));
  CHECK(older_stat(1, "/dev/iommu", &status) == 0 && S_ISCHR(status.st_mode));
  const int folder = open("/dev/vfio/devices", O_RDONLY | O_DIRECTORY);
  CHECK(folder >= 0 && close(folder) == 0);
  char text[32] = "", expected[32];
  FILE *file = fopen(DEVICE "/vfio-dev/vfio0/dev", "r");
  CHECK(file != NULL && fgets(text, sizeof(text), file) != NULL && fclose(file) == 0);
  snprintf(expected, sizeof(expected), "%u:%u\n", major(number), minor(number));
  CHECK(strcmp(text, expected) == 0);
}

// Calls by their number.
static void numbers(void) {
  // struct open_how
  const uint64_t how[3] = {O_RDWR};
  const long fd = syscall(SYS_openat2, AT_FDCWD, "/dev/iommu", how, sizeof(how));
  CHECK(fd >= 0);
  REFUSED(EINVAL, syscall(SYS_openat2, AT_FDCWD, "/dev/null", how, 8));
  struct stat status;
#ifdef SYS_stat
  CHECK(syscall(SYS_stat, "/dev/iommu", &status) == 0 && S_ISCHR(status.st_mode));
  CHECK(syscall(SYS_lstat, "/dev/iommu", &status) == 0 && S_ISCHR(status.st_mode));
  CHECK(syscall(SYS_access, "/dev/iommu", R_OK) == 0);
#endif
#ifdef SYS_newfstatat
  CHECK(syscall(SYS_newfstatat, AT_FDCWD, "/dev/iommu", &status, 0) == 0 && S_ISCHR(status.st_mode));
#endif
  CHECK(syscall(SYS_faccessat, AT_FDCWD, "/dev/iommu", R_OK) == 0);
  char byte = 0;
  const struct iovec part = {&byte, 1};
  REFUSED(EINVAL, syscall(SYS_preadv2, fd, &part, 1, -1L, -1L, 0));
  CHECK(syscall(SYS_close, fd) == 0);
}

static void sysfs(void) {
  char text[PATH_MAX] = "";
  const int fd = open(DEVICE "/vendor", O_RDONLY);
  CHECK(fd >= 0 && read(fd, text, sizeof(text)) == 7 && memcmp(text, "0x1234\n", 7) == 0 && close(fd) == 0);
  const ssize_t length = readlink(DEVICE "/driver", text, sizeof(text));
  CHECK(length > 9 && memcmp(text + length - 9, "/vfio-pci", 9) == 0);
  CHECK(realpath(DEVICE "/vendor", text) == text && strcmp(text, DEVICE "/vendor") == 0);
  // Fortified programs call another function.
  CHECK(realpath("/dev/iommu", text) == text && strcmp(text, "/dev/iommu") == 0);
  DIR *folder = opendir("/sys/bus/pci/devices");
  CHECK(folder != NULL);
  int found = 0;
  for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
    found += entry->d_name[0] == '.' ? 0 : strcmp(entry->d_name, "0000:01:00.0") == 0 ? 1 : 100;
  }
  CHECK(found == 1 && closedir(folder) == 0);
  // As `ls -l` asks.
  CHECK(getxattr(DEVICE "/vendor", "user.none", NULL, 0) == -1 && errno != ENOENT);
  CHECK(llistxattr("/dev/iommu", NULL, 0) >= 0);
  // All else is the real machine's.
  CHECK(access("/sys/kernel", X_OK) == 0 && access("/sys/devices/system/cpu", X_OK) == 0);
}

int main(void) {
  nodes();
  numbers();
  sysfs();
  puts("found");
  return 0;
}
