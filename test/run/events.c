// Events of a virtual device: a thread waits for them with poll, another reads them; a buffer that cannot be written loses none.
#include "events.h"

#include <pthread.h>

enum { EVENTS = 5 };

static int events;

static void *reader(void *unused) {
  (void)unused;
  for (uint32_t next = 0; next < EVENTS;) {
    struct pollfd waiting = {.fd = events, .events = POLLIN};
    CHECK(poll(&waiting, 1, 30000) == 1 && waiting.revents == POLLIN);
    struct record record = {0};
    const ssize_t length = read(events, &record, sizeof(record));
    if (length == 0) continue;
    CHECK(length == sizeof(record) && record.sequence == next && record.virtual_id == VIRTUAL_ID);
    next++;
  }
  return NULL;
}

int main(void) {
  const int fd = open_iommu();
  uint32_t device = 0;
  events = open_events(fd, &device);
  CHECK(fcntl(events, F_GETFD) == FD_CLOEXEC);
  CHECK(is_told(events, 0) == 0);

  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
  for (int i = 0; i < EVENTS; i++) {
    raise_event(fd, device);
    usleep(3000);
  }
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(is_told(events, 0) == 0);

  raise_event(fd, device);
  CHECK(is_told(events, 0) == 1);
  char *fixed = memory(4096);
  CHECK(mprotect(fixed, 4096, PROT_READ) == 0);
  REFUSED(EFAULT, read(events, fixed, sizeof(struct record)));
  struct record record = {0};
  CHECK(read(events, &record, sizeof(record)) == sizeof(record) && record.sequence == EVENTS);
  CHECK(read(events, &record, sizeof(record)) == 0);
  puts("told");
  return 0;
}
