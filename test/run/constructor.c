// A library whose constructor waits for a thread that looks at files: whoever loads it holds the loader's lock meanwhile. The same
// source is the library (with LIBRARY), and the program that loads it.
#include "program.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#ifdef LIBRARY
static void *look(void *unused) {
  (void)unused;
  struct stat status;
  char text[PATH_MAX];
  CHECK(stat("/etc/passwd", &status) == 0 && lstat("/etc/passwd", &status) == 0);
  CHECK(faccessat(AT_FDCWD, "/etc/passwd", R_OK, 0) == 0 && realpath("/etc/passwd", text) != NULL);
  DIR *folder = opendir("/etc");
  CHECK(folder != NULL && closedir(folder) == 0);
  FILE *file = fopen("/etc/passwd", "r");
  CHECK(file != NULL && fclose(file) == 0);
  return NULL;
}
__attribute__((constructor)) static void start(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, look, NULL) == 0 && pthread_join(thread, NULL) == 0);
}
#else
int main(int count, char **arguments) {
  CHECK(count == 2);
  alarm(20);
  CHECK(dlopen(arguments[1], RTLD_NOW) != NULL);
  puts("loaded");
  return 0;
}
#endif
