// Connections to the server. Calls travel over connections of which each thread takes one for as long as its call lasts:
// they belong to a process, so that a forked child makes its own. Files are connections too, one each, and the program's own
// fds of them are what the kernel closes, duplicates, inherits and passes on.
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SLOTS 64
#define ATTEMPTS 8
// The program's own fds come from below: ours lie behind what most programs have.
#define HIDDEN_BELOW 1024
#define HIDDEN_ROOM 128

struct slot {
  // The process that uses it at this moment; 0 for nobody.
  _Atomic int user;
  // The process that made it.
  int owner;
  int fd;
  uint64_t inode;
};

char server_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
static struct slot slots[SLOTS];
// Tells this program from one that the same process ran before exec.
static uint64_t program;
static _Atomic bool told;
// The process whose memory this is.
static int own_process;

static int process(void) {
  return (int)raw(SYS_getpid);
}

static uint32_t thread(void) {
  return (uint32_t)raw(SYS_gettid);
}

bool link_borrows_memory(void) {
  return process() != own_process;
}

static uint64_t inode_of(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

bool link_is_ours(int fd, uint64_t *inode) {
  const int before = errno;
  struct sockaddr_un peer;
  socklen_t length = sizeof(peer);
  *inode = inode_of(fd);
  const bool ours = server_path[0] != '\0' && *inode != 0 && getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
                    peer.sun_family == AF_UNIX && length > offsetof(struct sockaddr_un, sun_path) &&
                    strncmp(peer.sun_path, server_path, sizeof(peer.sun_path)) == 0;
  errno = before;
  return ours;
}

int link_hide(int fd) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return fd;
  const rlim_t end = limit.rlim_cur < HIDDEN_BELOW ? limit.rlim_cur : HIDDEN_BELOW;
  if (end < 2 * HIDDEN_ROOM) return fd;
  const long hidden = raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (int)(end - HIDDEN_ROOM));
  if (hidden < 0) return fd;
  raw(SYS_close, fd);
  return (int)hidden;
}

static bool ask(int fd, const struct request *request) {
  for (size_t done = 0; done < sizeof(*request);) {
    const long sent =
        raw(SYS_sendto, fd, (const char *)request + done, sizeof(*request) - done, MSG_NOSIGNAL, NULL, 0);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    done += (size_t)sent;
  }
  return true;
}
static bool take_answer(int fd, void *answer, size_t length) {
  for (size_t done = 0; done < length;) {
    const long got = raw(SYS_recvfrom, fd, (char *)answer + done, length - done, 0, NULL, NULL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += (size_t)got;
  }
  return true;
}

static int connect_to_server(bool close_on_exec) {
  const int fd = (int)raw(SYS_socket, AF_UNIX, SOCK_STREAM | (close_on_exec ? SOCK_CLOEXEC : 0), 0);
  if (fd < 0) return -errno;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, server_path, sizeof(address.sun_path));
  long result = 0;
  do {
    result = raw(SYS_connect, fd, &address, sizeof(address));
  } while (result < 0 && errno == EINTR);
  if (result == 0) return fd;
  raw(SYS_close, fd);
  return -EIO;
}

int link_new_file(bool close_on_exec, uint64_t *inode) {
  const int fd = connect_to_server(close_on_exec);
  if (fd < 0) return fd;
  *inode = inode_of(fd);
  const struct request hello = {.operation = OP_FILE, .file = *inode, .spare = -1};
  char ready = 0;
  if (ask(fd, &hello) && take_answer(fd, &ready, sizeof(ready))) return fd;
  raw(SYS_close, fd);
  return -EIO;
}

#define OUT_OF_REACH                                                                               \
  "iommufd run: the emulated machine cannot reach this program, which is in another PID namespace, or not to be traced: its " \
  "calls answer EIO\n"
// A message is worth more than the errno: whoever sees EIO looks for broken hardware.
static void tell_once(const char *text) {
  if (!atomic_exchange(&told, true)) raw(SYS_write, STDERR_FILENO, text, strlen(text));
}

// 0, or -errno: -EIO where there is no server, -EAGAIN where another thread closed the connection: it closes all fds.
static int open_slot(struct slot *slot) {
  const int pid = process();
  // What another process made, or another program's fd by now, is not ours to use.
  if (slot->owner == pid && slot->inode != 0 && inode_of(slot->fd) == slot->inode) return 0;
  if (slot->owner != 0 && slot->owner != pid && inode_of(slot->fd) == slot->inode) raw(SYS_close, slot->fd);
  slot->owner = 0;
  slot->inode = 0;
  const int fd = connect_to_server(true);
  if (fd < 0) return fd;
  slot->fd = link_hide(fd);
  const uint64_t inode = inode_of(slot->fd);
  struct reply reply;
  const struct request hello = {
      .operation = OP_CALLS,
      .args = {(uint64_t)pid, program},
      .spare = slot->fd,
      .thread = thread(),
      .spare_file = inode,
  };
  const bool answered = ask(slot->fd, &hello) && take_answer(slot->fd, &reply, sizeof(reply));
  if (!answered || reply.result != 0) {
    if (inode_of(slot->fd) != inode) return -EAGAIN;
    raw(SYS_close, slot->fd);
    if (answered) tell_once(OUT_OF_REACH);
    return -EIO;
  }
  slot->owner = pid;
  slot->inode = inode;
  return 0;
}

// What another thread closed is the program's own fd by now.
static void drop_slot(struct slot *slot) {
  if (inode_of(slot->fd) == slot->inode) raw(SYS_close, slot->fd);
  slot->owner = 0;
  slot->inode = 0;
}

// One that nobody uses; NULL where all are in use. What another thread of the parent used at the time of a fork stays taken.
// A child of vfork leaves its parent's alone: they are fds that it has no way to close there.
static struct slot *take_slot(void) {
  const int pid = process();
  if (pid != own_process) return NULL;
  for (int i = 0; i < SLOTS; i++) {
    int nobody = 0;
    if (!atomic_compare_exchange_strong(&slots[i].user, &nobody, pid)) continue;
    // A connection in another thread's table of fds is that thread's to use.
    if (!marks_kept() || slots[i].owner != pid || inode_of(slots[i].fd) == slots[i].inode) return &slots[i];
    atomic_store(&slots[i].user, 0);
  }
  return NULL;
}

static int call_over(struct slot *slot, const struct request *request, struct reply *reply) {
  for (int i = 0; i < ATTEMPTS; i++) {
    const int refusal = open_slot(slot);
    if (refusal == -EAGAIN) continue;
    if (refusal < 0) return refusal;
    const bool asked = ask(slot->fd, request);
    if (asked && take_answer(slot->fd, reply, sizeof(*reply))) return 0;
    // What was not asked yet, can be; where the server is gone, there will be no connection.
    drop_slot(slot);
    if (asked) break;
  }
  return -EIO;
}

int64_t link_call(struct request *request, struct reply *reply) {
  const int before = errno;
  struct slot passing = {.owner = 0};
  request->thread = thread();
  struct slot *slot = take_slot();
  const int failure = call_over(slot == NULL ? &passing : slot, request, reply);
  if (slot == NULL && failure == 0) drop_slot(&passing);
  if (slot != NULL) atomic_store(&slot->user, 0);
  errno = before;
  if (failure < 0) {
    // Short of fds is no reason to tell that the server is gone.
    if (failure == -EIO) tell_once("iommufd run: the emulated machine is gone: its calls answer EIO\n");
    *reply = (struct reply){.result = failure};
  } else if ((reply->flags & REPLY_TELL_UNMAP) != 0) {
    atomic_fetch_or(&pages_watched, WATCH_MEMORY);
  }
  return reply->result;
}

static void after_fork(void) {
  own_process = process();
  // This process may have the number of one that made some of them.
  for (int i = 0; i < SLOTS; i++) {
    if (slots[i].owner != 0) slots[i].owner = -1;
  }
}

void link_start(void) {
  own_process = process();
  pthread_atfork(NULL, NULL, after_fork);
  const char *path = getenv("IOMMUFD_RUN_SOCKET");
  if (path == NULL || strlen(path) >= sizeof(server_path)) return;
  memcpy(server_path, path, strlen(path) + 1);
  if (raw(SYS_getrandom, &program, sizeof(program), 0) != sizeof(program)) program = (uint64_t)process();
#ifdef __GLIBC__
  // What malloc unmaps within the library is not seen here: large blocks come from its heap too, and that does not shrink.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
#endif
  const char *server = getenv("IOMMUFD_RUN_PID");
  // Where Yama lets only ancestors look into a process: the server may, also where the program's parent ended.
  if (server != NULL) prctl(PR_SET_PTRACER, strtoul(server, NULL, 10), 0, 0, 0);
}
