#include "regions.h"

#include <algorithm>
#include <cerrno>

namespace host {

namespace {

// Whether the window's buffer is known to reach nothing any more, because it was here to be detached.
bool detach(napi_env env, const Window& window) {
  napi_value buffer = nullptr;
  bool detached = false;
  return napi_get_reference_value(env, window.buffer, &buffer) == napi_ok && buffer != nullptr &&
         napi_is_detached_arraybuffer(env, buffer, &detached) == napi_ok && !detached &&
         napi_detach_arraybuffer(env, buffer) == napi_ok;
}

void forgetBuffer(napi_env env, Window* window) {
  if (window->buffer != nullptr) napi_delete_reference(env, window->buffer);
  window->buffer = nullptr;
}

}  // namespace

int64_t Regions::add(RegionKind kind, const Mapping& mapping, int fd) {
  auto region = std::make_unique<Region>(Region{this, kind, mapping, fd, 0, 0, false, ages_++, {}});
  if (fd >= 0) files_->reserve(fd);
  Region* const added = region.get();
  regions_.emplace(added->age, std::move(region));
  added->number = slots_.add(added);
  if (added->number != 0) return added->number;
  unmap(added);
  return -ENFILE;
}

size_t Regions::live() const {
  return static_cast<size_t>(
      std::count_if(regions_.begin(), regions_.end(), [](const auto& entry) { return !entry.second->blank; }));
}

napi_value Regions::openWindow(napi_env env, Region* region, size_t offset, size_t length) {
  auto window = std::make_unique<Window>(Window{region, nullptr, true, false});
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, region->mapping.bytes + offset, length, bytesGone, window.get(),
                                       &buffer) != napi_ok) {
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (!pending) napi_throw_error(env, nullptr, "this JavaScript engine has no external ArrayBuffers");
    return nullptr;
  }
  Window* const opened = window.release();
  if (napi_create_reference(env, buffer, 0, &opened->buffer) != napi_ok) opened->buffer = nullptr;
  // Windows of blocks never leave this package, and are too many to wait for.
  if (region->kind != RegionKind::block) {
    opened->objectLives = napi_add_finalizer(env, buffer, opened, objectGone, opened, nullptr) == napi_ok;
  }
  region->windows.insert(opened);
  return buffer;
}

// Both may run long after the window was detached, when the region's memory is long reused; and at the end of the
// environment. They run no JavaScript.
void Regions::bytesGone(napi_env env, void*, void* hint) {
  Window* const window = static_cast<Window*>(hint);
  window->bytesHeld = false;
  settle(env, window);
}

void Regions::objectGone(napi_env env, void*, void* hint) {
  Window* const window = static_cast<Window*>(hint);
  window->objectLives = false;
  settle(env, window);
}

void Regions::settle(napi_env env, Window* window) {
  if (window->bytesHeld || window->objectLives) return;
  const std::unique_ptr<Window> gone(window);
  forgetBuffer(env, window);
  Region* const region = window->region;
  if (region == nullptr) return;
  region->windows.erase(window);
  region->regions->collectIfUnused(region);
}

void Regions::detachWindows(napi_env env, Region* region) {
  for (auto at = region->windows.begin(); at != region->windows.end();) {
    Window* const window = *at;
    const bool reachesNothing = detach(env, *window);
    if (reachesNothing) forgetBuffer(env, window);
    if (reachesNothing && !window->objectLives) {
      window->region = nullptr;
      at = region->windows.erase(at);
    } else {
      ++at;
    }
  }
}

int Regions::free(napi_env env, Region* region) {
  if (region->uses > 0) return -EBUSY;
  detachWindows(env, region);
  for (Window* const window : region->windows) forgetBuffer(env, window);
  forgetNumber(region);
  if (region->windows.empty()) {
    unmap(region);
  } else if (region->mapping.blank() == 0) {
    region->blank = true;
    if (region->fd >= 0) files_->closeReserved(region->fd);
    region->fd = -1;
  }
  return 0;
}

void Regions::drop(Region* region) {
  forgetNumber(region);
  collectIfUnused(region);
}

void Regions::release(Region* region) {
  region->uses--;
  collectIfUnused(region);
}

void Regions::forgetNumber(Region* region) {
  slots_.remove(region->number);
  region->number = 0;
}

void Regions::collectIfUnused(Region* region) {
  if (region->number == 0 && region->uses == 0 && region->windows.empty()) unmap(region);
}

void Regions::unmap(Region* region) {
  region->mapping.unmap();
  if (region->fd >= 0) files_->closeReserved(region->fd);
  regions_.erase(region->age);
}

void Regions::unmapAll(napi_env env) {
  while (!regions_.empty()) {
    Region* const region = regions_.rbegin()->second.get();
    for (Window* const window : region->windows) {
      detach(env, *window);
      forgetBuffer(env, window);
      window->region = nullptr;
    }
    if (region->number != 0) forgetNumber(region);
    unmap(region);
  }
}

}  // namespace host
