// What takes too long for JavaScript's thread: ioctls that pin or copy much, and making pages present.
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>

#include "calls.h"

namespace host {

namespace {

// Since Linux 5.14; older headers lack it.
constexpr int kPopulateWrite = 23;

int runIoctl(const Job& job) {
  const int result = ioctl(job.fd, job.request, job.at);
  return result < 0 ? -errno : result;
}

int runPrefault(const Job& job) {
  if (madvise(job.at, job.length, kPopulateWrite) == 0) return 0;
  const int error = errno;
  // A kernel that does not know the advice says so even of no bytes at all. There pages appear when they are touched.
  if (error != EINVAL || madvise(job.at, 0, kPopulateWrite) == 0) return -error;
  madvise(job.at, job.length, MADV_WILLNEED);
  return 0;
}

Napi::Value ioctlAsync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Environment& environment = Environment::of(info);
  int32_t fd = -1;
  uint32_t request = 0;
  Region* region = nullptr;
  size_t at = 0;
  if (!readInt32(env, info[0], "fd", &fd) || !readUint32(env, info[1], "request", &request) ||
      !readRegion(env, info[2], environment, &region) ||
      !readInteger(env, info[3], "at", 0, static_cast<double>(region->mapping.length - 1), &at) ||
      !readFunction(env, info[4], "done")) {
    return {};
  }
  if (region->kind != RegionKind::block) {
    throwWrongValue(env, "region", "must be a block, which nothing else uses meanwhile");
    return {};
  }
  const Job job{runIoctl, fd, request, region, region->mapping.bytes + at, 0};
  return toResult(info, environment.jobs.start(job, info[4]));
}

Napi::Value prefault(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Environment& environment = Environment::of(info);
  Region* region = nullptr;
  size_t offset = 0;
  size_t length = 0;
  if (!readRegion(env, info[0], environment, &region) ||
      !readSpan(env, info[1], "offset", info[2], "length", region->mapping.length, &offset, &length) ||
      !readFunction(env, info[3], "done")) {
    return {};
  }
  // The kernel takes whole pages only.
  const size_t within = offset % pageSize();
  const Job job{runPrefault, -1, 0, region, region->mapping.bytes + offset - within, length == 0 ? 0 : length + within};
  return toResult(info, environment.jobs.start(job, info[3]));
}

}  // namespace

void definePoolCalls(Napi::Object exports, Environment* environment) {
  define<ioctlAsync>(exports, "ioctlAsync", environment);
  define<prefault>(exports, "prefault", environment);
}

}  // namespace host
