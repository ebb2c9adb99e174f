#include "jobs.h"

#include <cerrno>
#include <memory>

#include "callback.h"
#include "environment.h"

namespace host {

int Jobs::start(const Job& job, napi_value done) {
  const napi_env env = environment_->env;
  auto started = std::make_unique<Job>(job);
  started->environment = environment_;
  const auto execute = [](napi_env, void* data) {
    Job* const self = static_cast<Job*>(data);
    self->result = self->run(*self);
  };
  napi_value name = nullptr;
  if (napi_create_string_utf8(env, "iommufd:work", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_reference(env, done, 1, &started->done) != napi_ok) {
    return -ENOMEM;
  }
  if (napi_create_async_work(env, nullptr, name, execute, finish, started.get(), &started->work) != napi_ok ||
      napi_queue_async_work(env, started->work) != napi_ok) {
    if (started->work != nullptr) napi_delete_async_work(env, started->work);
    napi_delete_reference(env, started->done);
    return -ENOMEM;
  }
  if (started->fd >= 0) started->fdToken = environment_->files.hold(started->fd);
  environment_->regions.hold(started->region);
  jobs_.insert(started.release());
  return 0;
}

void Jobs::finish(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(data));
  Environment& environment = *job->environment;
  environment.jobs.jobs_.erase(job.get());
  // Before the callback, which may well close the fd and free the region.
  if (job->fdToken != 0) environment.files.release(job->fd, job->fdToken);
  environment.regions.release(job->region);
  napi_value done = nullptr;
  napi_get_reference_value(env, job->done, &done);
  napi_delete_reference(env, job->done);
  napi_delete_async_work(env, job->work);
  napi_value result = nullptr;
  if (done != nullptr &&
      napi_create_int32(env, status == napi_cancelled ? -ECANCELED : job->result, &result) == napi_ok) {
    // napi_async_work entered the callback scope for us.
    callBack(env, nullptr, done, 1, &result);
  }
  environment.settle();
}

void Jobs::cancelQueued() {
  // A cancelled job still comes back to finish(), from the event loop.
  for (const Job* const job : jobs_) napi_cancel_async_work(environment_->env, job->work);
}

}  // namespace host
