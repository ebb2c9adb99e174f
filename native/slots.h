// Numbers that name native objects, as fds name files. A number is a slot and the count of objects that the slot has
// held, so one that names nothing live never comes to name something else: a slot whose count is used up is retired.
// Numbers are positive and fit 31 bits, which V8 passes without allocating.
#ifndef NATIVE_SLOTS_H
#define NATIVE_SLOTS_H

#include <cstdint>
#include <deque>
#include <vector>

namespace host {

template <typename T>
class Slots {
 public:
  // 0 where all slots are taken.
  uint32_t add(T* object) {
    if (free_.empty()) {
      if (slots_.size() > kIndexMask) return 0;
      free_.push_back(static_cast<uint32_t>(slots_.size()));
      slots_.push_back(Slot{nullptr, 0});
    }
    const uint32_t index = free_.front();
    free_.pop_front();
    Slot& slot = slots_[index];
    slot.object = object;
    slot.generation++;
    return slot.generation << kIndexBits | index;
  }

  T* find(uint32_t number) const {
    const uint32_t index = number & kIndexMask;
    if (index >= slots_.size()) return nullptr;
    const Slot& slot = slots_[index];
    return slot.generation == number >> kIndexBits ? slot.object : nullptr;
  }

  void remove(uint32_t number) {
    if (find(number) == nullptr) return;
    Slot& slot = slots_[number & kIndexMask];
    slot.object = nullptr;
    if (slot.generation < kLastGeneration) free_.push_back(number & kIndexMask);
  }

 private:
  static constexpr uint32_t kIndexBits = 16;
  static constexpr uint32_t kIndexMask = 0xffff;
  static constexpr uint32_t kLastGeneration = 0x7fff;

  struct Slot {
    T* object;
    uint32_t generation;
  };

  std::vector<Slot> slots_;
  std::deque<uint32_t> free_;
};

}  // namespace host

#endif
