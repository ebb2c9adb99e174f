// An addon of defects, of which some are made when it is loaded: the tools that watch the real one must tell of each. What it
// does hangs on its environment, so that no compiler can see it coming. It needs no headers of Node's.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

volatile int sink;

void useAfterFree(size_t size) {
  volatile char* const bytes = new char[size];
  bytes[0] = 1;
  delete[] bytes;
  sink = bytes[0];
}

void overflow(size_t size) {
  volatile char* const bytes = new char[size];
  bytes[size] = 1;
  delete[] bytes;
}

void undefined(size_t amount) { sink = 1 << (amount + 64); }

void floatCast(size_t amount) { sink = static_cast<int32_t>(static_cast<double>(amount) * 1e300); }

// What the standard library itself checks.
void noSuchIndex(size_t size) {
  const std::vector<int> numbers(size);
  sink = numbers[size];
}

void uninitialised(size_t size) {
  volatile char* const bytes = static_cast<char*>(std::malloc(size));
  if (bytes[size - 1] == 7) sink = 1;
  std::free(const_cast<char*>(bytes));
}

void leak(size_t size) {
  volatile char* bytes = new char[size];
  bytes[0] = 1;
  bytes = nullptr;
}

void run(const char* defect) {
  const size_t size = std::strlen(defect);
  // Some of them, in one word: where one does not end the process, others can follow.
  const auto is = [defect](const char* name) { return std::strstr(defect, name) != nullptr; };
  if (is("use-after-free")) useAfterFree(size);
  if (is("overflow")) overflow(size);
  if (is("undefined")) undefined(size);
  if (is("float-cast")) floatCast(size);
  if (is("no-such-index")) noSuchIndex(size);
  if (is("uninitialised")) uninitialised(size);
  if (is("leak")) leak(size);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void* napi_register_module_v1(void*, void* exports) {
  const char* const defect = std::getenv("IOMMUFD_DEFECT");
  if (defect != nullptr) run(defect);
  return exports;
}
