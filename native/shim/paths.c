// Paths of the emulated machine: its nodes, and what its sysfs says. The server wrote them as files into a folder, where the
// calls that look at paths find them before those of the machine that the program really runs on. A node is a file there that
// holds its numbers, and is shown as what it stands for.
#include "real.h"

#include <dirent.h>
#include <dlfcn.h>
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
#define NEXT(type, name)                    \
  type *next = NULL;                        \
  *(void **)&next = dlsym(RTLD_NEXT, #name)

struct place {
  char path[PLACE_MAX];
  // What was asked for is a node: its numbers.
  bool node;
  unsigned int major, minor;
};

bool path_may_be_read(const char *path) {
#ifdef __aarch64__
  // The upper byte of an address is the program's own there.
  const uintptr_t at = (uintptr_t)path & (((uintptr_t)1 << 56) - 1), end = (uintptr_t)1 << 52;
#else
  const uintptr_t at = (uintptr_t)path, end = (uintptr_t)1 << 56;
#endif
  return at >= 4096 && at < end;
}

static bool is_candidate(const char *path) {
  if (server_path[0] == '\0' || !path_may_be_read(path) || path[0] != '/') return false;
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

// Where a path lies; NULL where the machine has none of that name.
static struct place *find(const char *path, struct place *place) {
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

const char *path_of(const char *path, char *into) {
  struct place place;
  if (find(path, &place) == NULL || place.node) return path;
  return strcpy(into, place.path);
}

static int shown(int result, struct stat *status, const struct place *place) {
  if (result != 0 || !place->node) return result;
  status->st_mode = S_IFCHR | 0600;
  status->st_rdev = makedev(place->major, place->minor);
  status->st_size = 0;
  return result;
}

typedef int access_call(int, const char *, int, int);
typedef char *realpath_call(const char *, char *);
typedef DIR *opendir_call(const char *);
typedef int stat_call(const char *, struct stat *);
typedef int stat_at_call(int, const char *, struct stat *, int);

#define STAT(name)                                          \
  SHOWN int name(const char *path, struct stat *status) {   \
    struct place place;                                     \
    NEXT(stat_call, name);                                  \
    if (find(path, &place) == NULL) return next(path, status); \
    return shown(next(place.path, status), status, &place); \
  }
STAT(stat)
STAT(lstat)

SHOWN int fstatat(int folder, const char *path, struct stat *status, int flags) {
  struct place place;
  NEXT(stat_at_call, fstatat);
  if (find(path, &place) == NULL) return next(folder, path, status, flags);
  return shown(next(folder, place.path, status, flags), status, &place);
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
  NEXT(access_call, faccessat);
  return next(folder, find(path, &place) == NULL ? path : place.path, mode, flags);
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
  NEXT(realpath_call, realpath);
  if (find(path, &place) == NULL) return next(path, into);
  char *found = next(place.path, into);
  const size_t prefix = (size_t)folder_length() + strlen(ROOT);
  // The folder itself may be reached by a link; then its own name is as good.
  if (found != NULL && strncmp(found, server_path, (size_t)folder_length()) == 0 && strlen(found) > prefix) {
    memmove(found, found + prefix, strlen(found + prefix) + 1);
  }
  return found;
}
SHOWN DIR *opendir(const char *path) {
  struct place place;
  NEXT(opendir_call, opendir);
  return next(find(path, &place) == NULL ? path : place.path);
}

typedef int scan_call(const char *, struct dirent ***, int (*)(const struct dirent *),
                      int (*)(const struct dirent **, const struct dirent **));
SHOWN int scandir(const char *path, struct dirent ***names, int (*filter)(const struct dirent *),
                  int (*compare)(const struct dirent **, const struct dirent **)) {
  struct place place;
  NEXT(scan_call, scandir);
  return next(find(path, &place) == NULL ? path : place.path, names, filter, compare);
}
typedef int scan64_call(const char *, struct dirent64 ***, int (*)(const struct dirent64 *),
                        int (*)(const struct dirent64 **, const struct dirent64 **));
SHOWN int scandir64(const char *path, struct dirent64 ***names, int (*filter)(const struct dirent64 *),
                    int (*compare)(const struct dirent64 **, const struct dirent64 **)) {
  struct place place;
  NEXT(scan64_call, scandir64);
  return next(find(path, &place) == NULL ? path : place.path, names, filter, compare);
}

// `ls -l` asks for these. A file of the server's folder answers as a node does: there are none.
#define ATTRIBUTE(name)                                                                              \
  typedef ssize_t name##_call(const char *, const char *, void *, size_t);                           \
  SHOWN ssize_t name(const char *path, const char *attribute, void *into, size_t length) {           \
    struct place place;                                                                              \
    NEXT(name##_call, name);                                                                         \
    return next(find(path, &place) == NULL ? path : place.path, attribute, into, length);            \
  }
ATTRIBUTE(getxattr)
ATTRIBUTE(lgetxattr)
#define ATTRIBUTES(name)                                                         \
  typedef ssize_t name##_call(const char *, char *, size_t);                     \
  SHOWN ssize_t name(const char *path, char *into, size_t length) {              \
    struct place place;                                                          \
    NEXT(name##_call, name);                                                     \
    return next(find(path, &place) == NULL ? path : place.path, into, length);   \
  }
ATTRIBUTES(listxattr)
ATTRIBUTES(llistxattr)
