// Threads that call at once: each has its own answers, on one file and on files of their own.
#include "program.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 60 };

static int shared;

static void *work(void *unused) {
  (void)unused;
  const int own = open_iommu();
  for (int i = 0; i < ROUNDS; i++) {
    const uint32_t mine = alloc_ioas(own);
    CHECK(mine == (uint32_t)i + 1);
    const uint32_t one = alloc_ioas(shared);
    char *at = memory(4096);
    const uint64_t iova = map(shared, one, at, 4096);
    struct ioas_unmap unmap = {.size = sizeof(unmap), .ioas = one, .iova = iova, .length = 4096};
    CHECK(ioctl(shared, IOAS_UNMAP, &unmap) == 0 && unmap.length == 4096);
    CHECK(destroy(shared, one) == 0);
    REFUSED(ENOENT, destroy(own, mine + 1));
    CHECK(munmap(at, 4096) == 0);
  }
  CHECK(close(own) == 0);
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  shared = open_iommu();
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  // All that were made are gone again.
  for (uint32_t id = 1; id < 200; id++) REFUSED(ENOENT, destroy(shared, id));
  puts("done");
  return 0;
}
