// Work on libuv's thread pool. A job keeps the fd open and the region mapped that it uses, and calls back once.
#ifndef NATIVE_JOBS_H
#define NATIVE_JOBS_H

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <unordered_set>

#include "regions.h"

namespace host {

struct Environment;

struct Job {
  // Runs on the thread pool, touches nothing but the job, and answers as a system call does.
  using Run = int (*)(const Job& job);

  Run run;
  // -1 where it needs none.
  int fd;
  unsigned long request;
  Region* region;
  uint8_t* at;
  size_t length;

  // The rest is the queue's.
  Environment* environment = nullptr;
  uint64_t fdToken = 0;
  int result = 0;
  napi_async_work work = nullptr;
  napi_ref done = nullptr;
};

class Jobs {
 public:
  explicit Jobs(Environment* environment) : environment_(environment) {}

  // 0 where `done` will be called, or -errno.
  int start(const Job& job, napi_value done);
  bool empty() const { return jobs_.empty(); }
  // Takes back what no thread has begun.
  void cancelQueued();

 private:
  static void finish(napi_env env, napi_status status, void* data);

  Environment* environment_;
  std::unordered_set<Job*> jobs_;
};

}  // namespace host

#endif
