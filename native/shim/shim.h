// What the parts of the shim offer each other. The shim is loaded into a program with LD_PRELOAD by `iommufd run`: it
// forwards calls on files of the emulated machine to the server, and lets all others through.
#ifndef IOMMUFD_SHIM_H
#define IOMMUFD_SHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

struct iovec;
struct msghdr;
struct mmsghdr;

// link.c: connections to the server.

// Where the server listens; empty where there is none.
extern char server_path[];
// Finds the server; done once, before the program starts.
void link_start(void);
// Sends a request and waits for its reply; answers what the call is to answer, or -errno; -EIO where the server is gone.
int64_t link_call(struct request *request, struct reply *reply);
// A connected socket that stands for a file from now on, and its inode; or -errno.
int link_new_file(bool close_on_exec, uint64_t *inode);
// Whether an fd is a connection to the server; its inode.
bool link_is_ours(int fd, uint64_t *inode);
// Whether this is a child of vfork: its memory is its parent's, and stays when it ends.
bool link_borrows_memory(void);
// Moves an fd out of the way of the program's own.
int link_hide(int fd);

// marks.c: which fds may be files of the emulated machine.

// At least those that are: what is not marked is none.
#define MARKED_FDS 65536
extern _Atomic uint8_t fd_marks[MARKED_FDS];
void mark(int fd);
// Before an fd is closed.
void unmark(int fd);
// From now on threads have tables of fds of their own: a mark may be another's.
void keep_marks(void);
bool marks_kept(void);
// Marks what the program was started with.
void mark_inherited(void);
static inline bool is_marked(int fd) {
  return (unsigned int)fd < MARKED_FDS ? atomic_load_explicit(&fd_marks[fd], memory_order_relaxed) != 0 : fd >= 0;
}
// Whether an fd is a file of the emulated machine, and which one.
static inline bool is_file(int fd, uint64_t *inode) {
  return is_marked(fd) && link_is_ours(fd, inode);
}

// files.c: calls on files of the emulated machine. As system calls, they answer -errno.

// Of a path that may be ours.
bool file_is_path(const char *path);
int file_open(const char *path, int flags);
int64_t file_ioctl(uint64_t file, uint32_t command, uint64_t argument);
int64_t file_transfer(enum operation operation, int fd, uint64_t file, const void *at, size_t length, int64_t position);
int64_t file_vector(enum operation operation, int fd, uint64_t file, const struct iovec *parts, int count,
                    int64_t position);

// pages.c: pages of registers that are mapped.

void pages_start(void);

// Where the server is to be told of, or pages of registers are mapped: mostly nothing.
extern _Atomic int pages_watched;
enum { WATCH_REGISTERS = 1, WATCH_MEMORY = 2 };
void *pages_map(void *at, size_t length, int protection, int flags, uint64_t file, int64_t offset);
// Before a stretch of addresses goes.
void pages_unmap(void *at, size_t length);
// Before private memory there gets other contents: what is shared stays.
void pages_discard(void *at, size_t length);
// After memory moved.
void pages_moved(void *from, void *to, size_t length);
// Before all of it goes, since the program ends.
void pages_end(void);

// status.c: /proc/PID/status with what is pinned here.

// A file in the place of that of this path, which may be ours; -1 where the path is another one, or nothing is pinned.
int status_open(const char *path, bool close_on_exec);

// paths.c: nodes and sysfs of the emulated machine.

// Longer ones are none of the machine's. What opens files may run on a signal handler's stack: 8 KiB, for all that it does.
#define PLACE_MAX 512
// Whether memory can be read: the kernel answers EFAULT for a wild pointer, and the shim must not read it.
bool may_be_read(const void *at, size_t length);
// From now on the kernel is not asked: what it may be asked is filtered.
void stop_probing(void);
// Whether there is a machine, and a path that can be read and may be one of its paths: those below ask for that before.
bool path_may_be_ours(const char *path);
// Where a file of the emulated machine's sysfs really lies, which may be written to `into` (PLACE_MAX bytes); else the path.
const char *path_of(const char *path, char *into);

// real.c: the calls as they are without the shim.

// None of these is a cancellation point, and none of them comes back here.
long raw(long number, ...);

#endif
