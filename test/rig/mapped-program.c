/* A program whose memory tests look at from outside: it maps, unmaps and changes memory as it is told on standard input, a line a
 * command, and answers each with a line. A process that it forks takes over the conversation until it is told to go. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The largest number of words in a command. */
#define WORDS 8

static void answer(long long value, int failed)
{
  printf("%lld\n", failed ? (long long)-errno : value);
}

static void answer_address(void *address)
{
  answer((long long)(intptr_t)address, address == MAP_FAILED);
}

/* fill ADDRESS LENGTH BYTE: a fault ends the program. */
static void fill(char **word)
{
  memset((void *)strtoull(word[1], NULL, 0), atoi(word[3]), strtoull(word[2], NULL, 0));
  answer(0, 0);
}

/* peek ADDRESS: the byte there. */
static void peek(char **word)
{
  answer(*(volatile unsigned char *)strtoull(word[1], NULL, 0), 0);
}

/* map ADDRESS LENGTH PROTECTION FLAGS FD OFFSET */
static void map(char **word)
{
  void *hint = (void *)strtoull(word[1], NULL, 0);
  answer_address(mmap(hint, strtoull(word[2], NULL, 0), atoi(word[3]), atoi(word[4]), atoi(word[5]), strtoll(word[6], NULL, 0)));
}

/* move ADDRESS LENGTH NEW_LENGTH: mremap that may move, and does where it grows. */
static void move(char **word)
{
  void *from = (void *)strtoull(word[1], NULL, 0);
  answer_address(mremap(from, strtoull(word[2], NULL, 0), strtoull(word[3], NULL, 0), MREMAP_MAYMOVE));
}

/* fork: the child converses; its parent waits for it, and goes on. */
static void fork_here(void)
{
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    answer(getpid(), 0);
    return;
  }
  waitpid(child, NULL, 0);
  answer(0, 0);
}

static void carry_out(char **word)
{
  const char *what = word[0];
  void *address = word[1] == NULL ? NULL : (void *)strtoull(word[1], NULL, 0);
  size_t length = word[1] == NULL || word[2] == NULL ? 0 : strtoull(word[2], NULL, 0);
  if (strcmp(what, "fill") == 0) fill(word);
  else if (strcmp(what, "peek") == 0) peek(word);
  else if (strcmp(what, "map") == 0) map(word);
  else if (strcmp(what, "move") == 0) move(word);
  else if (strcmp(what, "unmap") == 0) answer(0, munmap(address, length) != 0);
  else if (strcmp(what, "protect") == 0) answer(0, mprotect(address, length, atoi(word[3])) != 0);
  else if (strcmp(what, "discard") == 0) answer(0, madvise(address, length, MADV_DONTNEED) != 0);
  else if (strcmp(what, "fork") == 0) fork_here();
  else if (strcmp(what, "memfd") == 0) {
    int fd = memfd_create("tests", 0);
    answer(fd, fd < 0 || ftruncate(fd, atoll(word[1])) != 0);
  } else if (strcmp(what, "open") == 0) {
    int fd = open(word[1], O_RDWR | O_CREAT, 0600);
    answer(fd, fd < 0 || ftruncate(fd, atoll(word[2])) != 0);
  } else if (strcmp(what, "truncate") == 0) answer(0, ftruncate(atoi(word[1]), atoll(word[2])) != 0);
  else if (strcmp(what, "close") == 0) answer(0, close(atoi(word[1])) != 0);
  else if (strcmp(what, "become") == 0) execl("/proc/self/exe", "again", (char *)NULL);
  else {
    errno = EINVAL;
    answer(0, 1);
  }
}

int main(void)
{
  char line[256];
  setvbuf(stdout, NULL, _IOLBF, 0);
  /* Where a file that is read ends up is not for a forked process to guess. */
  setvbuf(stdin, NULL, _IONBF, 0);
  answer(getpid(), 0);
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *word[WORDS] = {NULL};
    char *rest = line;
    for (int i = 0; i < WORDS - 1 && (word[i] = strtok_r(rest, " \n", &rest)) != NULL; i++) {}
    if (word[0] == NULL) continue;
    if (strcmp(word[0], "exit") == 0) return 0;
    carry_out(word);
  }
  return 0;
}
