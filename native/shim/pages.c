// Pages of registers: memory that the program and the server share as a file, which the server polls. A hidden fd of each
// mapping tells the server how long it is there: forked children inherit both, and exec closes it.
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define MAPPINGS 256

struct mapping {
  uintptr_t start;
  size_t length;
  // Bytes of it that are still mapped.
  size_t left;
  int fd;
  uint64_t inode;
};

_Atomic int pages_watched;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mapping mappings[MAPPINGS];

// Signal handlers may unmap memory, and fork: none must find the lock taken by what it interrupted.
static void hold(sigset_t *before) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, before);
  pthread_mutex_lock(&lock);
}
static void let_go(const sigset_t *before) {
  pthread_mutex_unlock(&lock);
  pthread_sigmask(SIG_SETMASK, before, NULL);
}

static struct mapping *free_mapping(void) {
  for (int i = 0; i < MAPPINGS; i++) {
    if (mappings[i].left == 0) return &mappings[i];
  }
  return NULL;
}

static int open_shared(int64_t number) {
  char path[sizeof(((struct request *)NULL)->args) + 256];
  const char *slash = strrchr(server_path, '/');
  const int folder = (int)(slash - server_path);
  const int length = snprintf(path, sizeof(path), "%.*s/registers-%lld", folder, server_path, (long long)number);
  if (length < 0 || (size_t)length >= sizeof(path)) return -EIO;
  const long fd = raw(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
  return fd < 0 ? -errno : (int)fd;
}

static void *place(void *at, size_t length, int protection, int flags, int64_t number) {
  const int fd = open_shared(number);
  if (fd < 0) {
    errno = -fd;
    return MAP_FAILED;
  }
  void *placed = (void *)raw(SYS_mmap, at, length, protection, flags, fd, 0);
  const int failure = errno;
  raw(SYS_close, fd);
  errno = failure;
  return placed;
}

static void *map_with(struct mapping *mapping, void *at, struct request *request) {
  struct reply reply;
  const int64_t number = link_call(request, &reply);
  if (number < 0) {
    errno = (int)-number;
    return MAP_FAILED;
  }
  const size_t length = (size_t)request->args[0];
  void *placed = place(at, length, (int)request->args[1], (int)request->args[2], number);
  if (placed == MAP_FAILED) return placed;
  *mapping = (struct mapping){
      .start = (uintptr_t)placed,
      .length = length,
      .left = length,
      .fd = request->spare,
      .inode = request->spare_file,
  };
  atomic_fetch_or(&pages_watched, WATCH_REGISTERS);
  return placed;
}

void *pages_map(void *at, size_t length, int protection, int flags, uint64_t file, int64_t offset) {
  struct request request = {
      .operation = OP_MMAP,
      .file = file,
      .args = {(length + 4095) & ~(uint64_t)4095, (uint64_t)(unsigned int)protection, (uint64_t)(unsigned int)flags,
               (uint64_t)offset},
  };
  request.spare = link_new_file(true, &request.spare_file);
  if (request.spare < 0) {
    errno = -request.spare;
    return MAP_FAILED;
  }
  request.spare = link_hide(request.spare);
  sigset_t signals;
  hold(&signals);
  struct mapping *mapping = free_mapping();
  void *placed = MAP_FAILED;
  if (mapping == NULL) errno = ENOMEM;
  else placed = map_with(mapping, at, &request);
  let_go(&signals);
  if (placed != MAP_FAILED) return placed;
  const int failure = errno;
  raw(SYS_close, request.spare);
  errno = failure;
  return placed;
}

static void unmap_part(struct mapping *mapping, uintptr_t from, uintptr_t to) {
  const uintptr_t start = from > mapping->start ? from : mapping->start;
  const uintptr_t end = to < mapping->start + mapping->length ? to : mapping->start + mapping->length;
  if (start >= end) return;
  mapping->left -= end - start < mapping->left ? end - start : mapping->left;
  uint64_t inode = 0;
  // The program may have closed all fds, and have another one by this number.
  if (mapping->left == 0 && link_is_ours(mapping->fd, &inode) && inode == mapping->inode) raw(SYS_close, mapping->fd);
}

static void tell(enum operation operation, uint64_t at, uint64_t length) {
  struct request request = {.operation = operation, .args = {at, length}, .spare = -1};
  struct reply reply;
  link_call(&request, &reply);
}

void pages_unmap(void *at, size_t length) {
  const int watched = atomic_load(&pages_watched);
  const uintptr_t from = (uintptr_t)at;
  // What is unmapped is whole pages; a stretch of all addresses stays one.
  if (length <= UINTPTR_MAX - 4095) length = (length + 4095) & ~(size_t)4095;
  if ((watched & WATCH_REGISTERS) != 0) {
    sigset_t signals;
    hold(&signals);
    for (int i = 0; i < MAPPINGS; i++) {
      if (mappings[i].left != 0) unmap_part(&mappings[i], from, from + length);
    }
    let_go(&signals);
  }
  if ((watched & WATCH_MEMORY) != 0) tell(OP_UNMAP, from, length);
}

void pages_discard(void *at, size_t length) {
  if ((atomic_load(&pages_watched) & WATCH_MEMORY) != 0) tell(OP_DISCARD, (uintptr_t)at, length);
}

static void move_mappings(uintptr_t from, uintptr_t to, size_t length) {
  sigset_t signals;
  hold(&signals);
  for (int i = 0; i < MAPPINGS; i++) {
    struct mapping *mapping = &mappings[i];
    if (mapping->left != 0 && mapping->start >= from && mapping->start - from < length) mapping->start += to - from;
  }
  let_go(&signals);
}
void pages_moved(void *from, void *to, size_t length) {
  const int watched = atomic_load(&pages_watched);
  if ((watched & WATCH_REGISTERS) != 0) move_mappings((uintptr_t)from, (uintptr_t)to, length);
  if ((watched & WATCH_MEMORY) == 0) return;
  struct request request = {
      .operation = OP_MOVE,
      .args = {(uint64_t)(uintptr_t)from, (uint64_t)(uintptr_t)to, length},
      .spare = -1,
  };
  struct reply reply;
  link_call(&request, &reply);
}

void pages_end(void) {
  if ((atomic_load(&pages_watched) & WATCH_MEMORY) == 0 || link_borrows_memory()) return;
  tell(OP_UNMAP, 0, UINT64_MAX);
}

// Of the thread that forks, which alone has the lock.
static sigset_t fork_signals;
static void before_fork(void) {
  sigset_t signals;
  hold(&signals);
  fork_signals = signals;
}
static void after_fork(void) {
  const sigset_t signals = fork_signals;
  let_go(&signals);
}
// A child that is forked while another thread maps would wait for that thread for ever.
void pages_start(void) {
  pthread_atfork(before_fork, after_fork, after_fork);
}
