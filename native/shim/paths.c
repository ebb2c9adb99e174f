// Paths of the emulated machine: its nodes, and what its sysfs says. The server wrote them as files into a folder, where the
// calls that look at paths find them before those of the machine that the program really runs on. A node is a file there that
// holds its numbers, and is shown as what it stands for.
#include "real.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define SHOWN __attribute__((visibility("default")))
#define ROOT "/root"
#define PAGE ((uintptr_t)4096)

struct place {
  char path[PLACE_MAX];
  // What was asked for is a node: its numbers.
  bool node;
  unsigned int major, minor;
};

// The program has a filter of system calls, which may end it for one that it does not make itself.
static _Atomic bool filtered;

void stop_probing(void) {
  atomic_store(&filtered, true);
}

// Whether a byte can be read. Of a change of the signal mask the kernel reads the mask before it finds that there is no such
// change: EFAULT, or EINVAL.
static bool is_readable(uintptr_t at) {
  // Of no mask nothing is read.
  if (at < PAGE) return false;
  if (atomic_load_explicit(&filtered, memory_order_relaxed)) return true;
  const int before = errno;
  const bool missing = raw(SYS_rt_sigprocmask, -1, at & ~(uintptr_t)7, NULL, (size_t)8) < 0 && errno == EFAULT;
  errno = before;
  return !missing;
}

bool may_be_read(const void *at, size_t length) {
  const uintptr_t start = (uintptr_t)at;
  if (length == 0) return true;
  if (start > UINTPTR_MAX - length) return false;
  for (uintptr_t page = start; page < start + length; page = (page | (PAGE - 1)) + 1) {
    if (!is_readable(page)) return false;
  }
  return true;
}

bool path_may_be_ours(const char *path) {
  if (server_path[0] == '\0' || !is_readable((uintptr_t)path)) return false;
  if (path[0] != '/') return false;
  // It may go on in pages that are not there.
  for (size_t length = 0; length < PATH_MAX;) {
    const size_t rest = PAGE - (uintptr_t)(path + length) % PAGE;
    if (memchr(path + length, '\0', rest) != NULL) return true;
    length += rest;
    if (!is_readable((uintptr_t)(path + length))) return false;
  }
  return false;
}

static bool is_candidate(const char *path) {
  return strncmp(path, "/sys/", 5) == 0 || strcmp(path, "/dev/iommu") == 0 || strncmp(path, "/dev/vfio", 9) == 0;
}

static int folder_length(void) {
  const char *slash = strrchr(server_path, '/');
  return slash == NULL ? 0 : (int)(slash - server_path);
}

static void read_node(struct place *place) {
  char text[32] = {0};
  const long fd = raw(SYS_openat, AT_FDCWD, place->path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  raw(SYS_read, fd, text, sizeof(text) - 1);
  raw(SYS_close, fd);
  place->node = sscanf(text, "%u:%u", &place->major, &place->minor) == 2;
}

// Where a path that may be ours lies; NULL where the machine has none of that name.
static struct place *find_ours(const char *path, struct place *place) {
  if (!is_candidate(path)) return NULL;
  const int before = errno;
  place->node = false;
  const int length = snprintf(place->path, PLACE_MAX, "%.*s" ROOT "%s", folder_length(), server_path, path);
  struct statx status;
  const bool there = length > 0 && length < PLACE_MAX &&
                     raw(SYS_statx, AT_FDCWD, place->path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) == 0;
  if (there && path[1] == 'd' && S_ISREG(status.stx_mode)) read_node(place);
  errno = before;
  return there ? place : NULL;
}

static struct place *find(const char *path, struct place *place) {
  return path_may_be_ours(path) ? find_ours(path, place) : NULL;
}

const char *path_of(const char *path, char *into) {
  struct place place;
  if (find_ours(path, &place) == NULL || place.node) return path;
  return strcpy(into, place.path);
}

static int shown(int result, struct stat *status, const struct place *place) {
  if (result != 0 || !place->node) return result;
  status->st_mode = S_IFCHR | 0600;
  status->st_rdev = makedev(place->major, place->minor);
  status->st_size = 0;
  return result;
}

// Older libraries have none of these calls for others to find, and the kernel's struct is theirs: on all but few processors.
static int status_at(int folder, const char *path, struct stat *status, int flags) {
#ifdef STATUS_BY_LIBRARY
  return real()->fstatat(folder, path, status, flags);
#else
  return (int)raw(SYS_newfstatat, folder, path, status, flags);
#endif
}
SHOWN int fstatat(int folder, const char *path, struct stat *status, int flags) {
  struct place place;
  if (find(path, &place) == NULL) return status_at(folder, path, status, flags);
  return shown(status_at(folder, place.path, status, flags), status, &place);
}
SHOWN int stat(const char *path, struct stat *status) {
  return fstatat(AT_FDCWD, path, status, 0);
}
SHOWN int lstat(const char *path, struct stat *status) {
  return fstatat(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
}

// On 64-bit systems these are the same struct by another name.
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one struct");
SHOWN int stat64(const char *path, struct stat64 *status) {
  return stat(path, (struct stat *)status);
}
SHOWN int lstat64(const char *path, struct stat64 *status) {
  return lstat(path, (struct stat *)status);
}
SHOWN int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
  return fstatat(folder, path, (struct stat *)status, flags);
}

SHOWN int statx(int folder, const char *path, int flags, unsigned int mask, struct statx *status) {
  struct place place;
  const struct place *found = find(path, &place);
  const char *at = found == NULL ? path : place.path;
  const int result = (int)raw(SYS_statx, folder, at, flags, mask, status);
  if (result != 0 || found == NULL || !place.node) return result;
  status->stx_mode = S_IFCHR | 0600;
  status->stx_rdev_major = place.major;
  status->stx_rdev_minor = place.minor;
  status->stx_size = 0;
  return result;
}

SHOWN int access(const char *path, int mode) {
  struct place place;
  return (int)raw(SYS_faccessat, AT_FDCWD, find(path, &place) == NULL ? path : place.path, mode);
}
SHOWN int faccessat(int folder, const char *path, int mode, int flags) {
  struct place place;
  return real()->faccessat(folder, find(path, &place) == NULL ? path : place.path, mode, flags);
}
SHOWN ssize_t readlink(const char *path, char *into, size_t length) {
  struct place place;
  return raw(SYS_readlinkat, AT_FDCWD, find(path, &place) == NULL ? path : place.path, into, length);
}
SHOWN ssize_t readlinkat(int folder, const char *path, char *into, size_t length) {
  struct place place;
  return raw(SYS_readlinkat, folder, find(path, &place) == NULL ? path : place.path, into, length);
}

SHOWN char *realpath(const char *path, char *into) {
  struct place place;
  if (find(path, &place) == NULL) return real()->realpath(path, into);
  char *found = real()->realpath(place.path, into);
  const size_t prefix = (size_t)folder_length() + strlen(ROOT);
  // The folder itself may be reached by a link; then its own name is as good.
  if (found != NULL && strncmp(found, server_path, (size_t)folder_length()) == 0 && strlen(found) > prefix) {
    memmove(found, found + prefix, strlen(found + prefix) + 1);
  }
  return found;
}
SHOWN DIR *opendir(const char *path) {
  struct place place;
  return real()->opendir(find(path, &place) == NULL ? path : place.path);
}

SHOWN int scandir(const char *path, struct dirent ***names, int (*filter)(const struct dirent *),
                  int (*compare)(const struct dirent **, const struct dirent **)) {
  struct place place;
  return real()->scandir(find(path, &place) == NULL ? path : place.path, names, filter, compare);
}
SHOWN int scandir64(const char *path, struct dirent64 ***names, int (*filter)(const struct dirent64 *),
                    int (*compare)(const struct dirent64 **, const struct dirent64 **)) {
  struct place place;
  return real()->scandir64(find(path, &place) == NULL ? path : place.path, names, filter, compare);
}

// `ls -l` asks for these. A file of the server's folder answers as a node does: there are none.
#define ATTRIBUTE(name)                                                                    \
  SHOWN ssize_t name(const char *path, const char *attribute, void *into, size_t length) { \
    struct place place;                                                                    \
    const char *at = find(path, &place) == NULL ? path : place.path;                       \
    return raw(SYS_##name, at, attribute, into, length);                                   \
  }
ATTRIBUTE(getxattr)
ATTRIBUTE(lgetxattr)
#define ATTRIBUTES(name)                                                                    \
  SHOWN ssize_t name(const char *path, char *into, size_t length) {                         \
    struct place place;                                                                     \
    return raw(SYS_##name, find(path, &place) == NULL ? path : place.path, into, length);   \
  }
ATTRIBUTES(listxattr)
ATTRIBUTES(llistxattr)
