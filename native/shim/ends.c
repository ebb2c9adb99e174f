// The ways in which a program ends, or becomes another one: what devices may still reach of its memory is taken over before.
// A program that is killed is not asked.
#include "real.h"

#include <dlfcn.h>
#include <stdlib.h>

#define SHOWN __attribute__((visibility("default")))
// The next function of this name, as the library has it.
#define NEXT(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, #name))

__attribute__((destructor)) static void end(void) {
  pages_end();
}

SHOWN void _exit(int status) {
  pages_end();
  NEXT(void (*)(int), _exit)(status);
  abort();
}
SHOWN void _Exit(int status) {
  _exit(status);
}

SHOWN int execve(const char *path, char *const arguments[], char *const environment[]) {
  pages_end();
  return NEXT(int (*)(const char *, char *const[], char *const[]), execve)(path, arguments, environment);
}
SHOWN int execv(const char *path, char *const arguments[]) {
  pages_end();
  return NEXT(int (*)(const char *, char *const[]), execv)(path, arguments);
}
SHOWN int execvp(const char *file, char *const arguments[]) {
  pages_end();
  return NEXT(int (*)(const char *, char *const[]), execvp)(file, arguments);
}
SHOWN int execvpe(const char *file, char *const arguments[], char *const environment[]) {
  pages_end();
  return NEXT(int (*)(const char *, char *const[], char *const[]), execvpe)(file, arguments, environment);
}
SHOWN int fexecve(int fd, char *const arguments[], char *const environment[]) {
  pages_end();
  return NEXT(int (*)(int, char *const[], char *const[]), fexecve)(fd, arguments, environment);
}
