// Calling JavaScript from the event loop, where nothing is there to catch what it throws.
#ifndef NATIVE_CALLBACK_H
#define NATIVE_CALLBACK_H

#include <napi.h>

#include <cstddef>

namespace host {

// Calls `function`. What it throws is an uncaught exception of the process, as for any callback of Node's. At the end
// of an environment nothing is called. With `context` the call is a turn of its own (ticks and microtasks follow);
// without, the caller is inside one.
void callBack(napi_env env, napi_async_context context, napi_value function, size_t count, const napi_value* values);

}  // namespace host

#endif
