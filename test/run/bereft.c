// Calls until the server is gone, and then finds errors: never a call that does not come back.
#include "program.h"

#include <pthread.h>

static int event_file;

static void *wait_for_event(void *unused) {
  (void)unused;
  struct pollfd waiting = {.fd = event_file, .events = POLLIN};
  CHECK(poll(&waiting, 1, 30000) == 1 && (waiting.revents & POLLHUP) != 0);
  return NULL;
}

int main(void) {
  const int fd = open_iommu();
  struct fault_alloc fault = {.size = sizeof(fault)};
  CHECK(ioctl(fd, FAULT_QUEUE_ALLOC, &fault) == 0);
  event_file = (int)fault.fd;
  pthread_t waiter;
  CHECK(pthread_create(&waiter, NULL, wait_for_event, NULL) == 0);
  puts("here");
  fflush(stdout);
  struct ioas_alloc argument;
  int result = 0;
  do {
    argument = (struct ioas_alloc){.size = sizeof(argument)};
    result = ioctl(fd, IOAS_ALLOC, &argument);
  } while (result == 0);
  CHECK(result == -1);
  REFUSED(EIO, ioctl(fd, IOAS_ALLOC, &argument));
  char record[64];
  REFUSED(EIO, read(event_file, record, sizeof(record)));
  REFUSED(EIO, open("/dev/iommu", O_RDWR));
  CHECK(pthread_join(waiter, NULL) == 0);
  CHECK(close(fd) == 0 && close(event_file) == 0);
  puts("bereft");
  return 0;
}
