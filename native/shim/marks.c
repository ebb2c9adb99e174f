// Which fds may be files of the emulated machine. A mark says "look": the calls that can give such a file a number set it, and
// whoever finds it set asks the kernel what the fd is. So calls on all other fds cost no more than a look at a byte.
#include "shim.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

_Atomic uint8_t fd_marks[MARKED_FDS];
static _Atomic bool kept;

void mark(int fd) {
  if ((unsigned int)fd < MARKED_FDS) atomic_store(&fd_marks[fd], 1);
}

void unmark(int fd) {
  // A child of vfork closes its own copy, and shares this memory.
  if ((unsigned int)fd < MARKED_FDS && !atomic_load(&kept) && !link_borrows_memory()) atomic_store(&fd_marks[fd], 0);
}

void keep_marks(void) {
  atomic_store(&kept, true);
}

bool marks_kept(void) {
  return atomic_load(&kept);
}

void mark_inherited(void) {
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL) return;
  for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
    const int fd = atoi(entry->d_name);
    uint64_t inode = 0;
    if (link_is_ours(fd, &inode)) mark(fd);
  }
  closedir(folder);
}
