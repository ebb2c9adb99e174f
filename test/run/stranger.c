// A client that is not the shim: it speaks as it likes on the server's socket, says that it is another process, and asks for what
// makes no sense, about its own files too. The machine goes on.
#include "program.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { CALLS = 1, FILE_SOCKET = 2, MOVE = 11, OPERATIONS = 16, REQUESTS = 3000 };
struct request {
  uint32_t operation, command;
  uint64_t file, args[4];
  int32_t spare;
  uint32_t thread;
  uint64_t spare_file;
};
struct reply { int64_t result; uint32_t flags, unused; };

static char page[65536] __attribute__((aligned(4096)));

static uint64_t some(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}
static uint64_t some_argument(void) {
  const uint64_t mostly[] = {0, UINT64_MAX, some(), 1ull << some() % 64, INT64_MAX, 0xffffffffff600000u, 4096, some() % 64,
                             (uintptr_t)page, (uintptr_t)page + some() % 8192};
  return mostly[some() % (sizeof(mostly) / sizeof(mostly[0]))];
}

static int reach(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, getenv("IOMMUFD_RUN_SOCKET"));
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
  return fd;
}
static uint64_t inode_of(int fd) {
  struct stat status;
  CHECK(fstat(fd, &status) == 0);
  return status.st_ino;
}
static struct reply ask(int fd, struct request request) {
  struct reply reply;
  CHECK(send(fd, &request, sizeof(request), MSG_NOSIGNAL) == sizeof(request));
  CHECK(recv(fd, &reply, sizeof(reply), MSG_WAITALL) == sizeof(reply));
  return reply;
}
static int64_t greet_as(int fd, uint64_t pid, uint32_t thread) {
  const struct request hello = {
      .operation = CALLS, .args = {pid, 1}, .spare = fd, .thread = thread, .spare_file = inode_of(fd)};
  return ask(fd, hello).result;
}
static int64_t greet(int fd, uint64_t pid) {
  return greet_as(fd, pid, (uint32_t)gettid());
}

static void noise(void) {
  for (int i = 0; i < 20; i++) {
    const int fd = reach();
    uint64_t words[100];
    for (int word = 0; word < 100; word++) words[word] = some();
    send(fd, words, some() % sizeof(words), MSG_NOSIGNAL);
    CHECK(close(fd) == 0);
  }
}
static void thief(int iommu) {
  const int fd = reach();
  char ready = 0;
  const struct request request = {.operation = FILE_SOCKET, .file = inode_of(iommu), .spare = -1};
  CHECK(send(fd, &request, sizeof(request), MSG_NOSIGNAL) == sizeof(request));
  CHECK(recv(fd, &ready, 1, 0) <= 0);
  CHECK(close(fd) == 0);
}
static void others(void) {
  const uint64_t pids[] = {(uint64_t)getppid(), 0, UINT64_MAX, 1ull << 40};
  for (int i = 0; i < 4; i++) {
    const int fd = reach();
    CHECK(greet(fd, pids[i]) == -EIO);
    CHECK(close(fd) == 0);
  }
  // Nor is it another's thread.
  const uint32_t threads[] = {(uint32_t)getppid(), 0, UINT32_MAX};
  for (int i = 0; i < 3; i++) {
    const int fd = reach();
    CHECK(greet_as(fd, (uint64_t)getpid(), threads[i]) == -EIO);
    CHECK(close(fd) == 0);
  }
}
// What devices may reach is moved to where there are no addresses: it is not there.
static void moved_away(int iommu, uint32_t ioas, int access_file) {
  const int fd = reach();
  CHECK(greet(fd, (uint64_t)getpid()) == 0);
  static char pinned[8192] __attribute__((aligned(4096)));
  struct ioas_map mapping = {
      .size = sizeof(mapping), .flags = READABLE | WRITABLE, .ioas = ioas, .address = (uintptr_t)pinned, .length = 8192};
  const struct request map_it = {
      .operation = 4, .command = IOAS_MAP, .file = inode_of(iommu), .args = {(uintptr_t)&mapping}, .spare = -1};
  CHECK(ask(fd, map_it).result == 0);
  const struct request move = {
      .operation = MOVE, .args = {(uintptr_t)pinned, 0x7ffffffffffff000u, sizeof(pinned)}, .spare = -1};
  CHECK(ask(fd, move).result == 0);
  char seen[4];
  access_memory(iommu, access_file, mapping.iova + 4094, seen, sizeof(seen), 0);
  CHECK(close(fd) == 0);
}
// Whose answers do not matter. What is written is the page's.
static void nonsense(const uint64_t *files, int count) {
  const int fd = reach();
  CHECK(greet(fd, (uint64_t)getpid()) == 0);
  for (int i = 0; i < REQUESTS; i++) {
    struct request request = {
        .operation = (uint32_t)(some() % OPERATIONS),
        .command = (uint32_t)(some() % 4 == 0 ? some() : 0x3b64 + some() % 64),
        .file = files[some() % (unsigned int)count],
        .args = {some_argument(), some_argument(), some_argument(), some_argument()},
        .spare = some() % 3 == 0 ? (int32_t)some() : -1,
        .spare_file = some(),
    };
    const bool reads = request.operation == 5 || request.operation == 7;
    const bool points = reads || some() % 2 == 0;
    if (points) request.args[0] = (uintptr_t)page + some() % 4096;
    if (reads && request.args[1] > sizeof(page) / 2) request.args[1] = some() % 100;
    for (int word = 0; word < 40; word++) ((uint64_t *)page)[word] = word == 0 ? some() % 100 : some_argument();
    ask(fd, request);
  }
  CHECK(close(fd) == 0);
}

int main(void) {
  const int iommu = open_iommu();
  struct fault_alloc fault = {.size = sizeof(fault)};
  CHECK(ioctl(iommu, FAULT_QUEUE_ALLOC, &fault) == 0);
  const uint32_t ioas = alloc_ioas(iommu);
  map(iommu, ioas, page, sizeof(page));
  const int access_file = create_access(iommu, ioas);
  const uint64_t files[] = {inode_of(iommu), inode_of((int)fault.fd), inode_of(access_file), 0, UINT64_MAX};
  noise();
  thief(iommu);
  others();
  alloc_ioas(iommu);
  moved_away(iommu, ioas, access_file);
  nonsense(files, 5);
  CHECK(alloc_ioas(open_iommu()) != 0);
  puts("let alone");
  return 0;
}
