// Two readers of one queue: the first is held up between its event and the byte that told of it, so that the second takes that
// byte; what comes then is told of all the same. A filter that traps the call by which the byte is taken holds it up.
#include "events.h"

#include <pthread.h>

#if defined(__x86_64__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>

static int events;
static _Atomic int held, go;

// The call that was trapped is made here, with another flag that the filter does not look for, and which changes nothing.
static void hold_up(int number, siginfo_t *information, void *context) {
  (void)number;
  (void)information;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  held = 1;
  while (!go) {
  }
  long result = 0;
  register long flags __asm__("r10") = MSG_DONTWAIT | MSG_NOSIGNAL, from __asm__("r8") = 0, length __asm__("r9") = 0;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(SYS_recvfrom), "D"(registers[REG_RDI]), "S"(registers[REG_RSI]), "d"(registers[REG_RDX]),
                     "r"(flags), "r"(from), "r"(length)
                   : "rcx", "r11", "memory");
  registers[REG_RAX] = result;
}

static void trap_taking(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_recvfrom, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MSG_DONTWAIT, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void read_one(uint32_t sequence) {
  struct record record;
  CHECK(read(events, &record, sizeof(record)) == sizeof(record) && record.sequence == sequence);
}
static void *first_reader(void *unused) {
  (void)unused;
  trap_taking();
  read_one(0);
  return NULL;
}

int main(void) {
  struct sigaction action = {.sa_sigaction = hold_up, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSYS, &action, NULL) == 0);
  alarm(20);
  const int fd = open_iommu();
  uint32_t device = 0;
  events = open_events(fd, &device);
  raise_event(fd, device);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, first_reader, NULL) == 0);
  while (!held) usleep(1000);
  struct record record;
  CHECK(read(events, &record, sizeof(record)) == 0);
  raise_event(fd, device);
  go = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(is_told(events, 10000) == 1);
  raise_event(fd, device);
  CHECK(is_told(events, 0) == 1);
  read_one(1);
  CHECK(is_told(events, 0) == 1);
  read_one(2);
  CHECK(is_told(events, 0) == 0);
  puts("woken");
  return 0;
}
#else
int main(void) {
  puts("not here");
  return 0;
}
#endif
