// Single accesses of device registers, in order with what surrounds them.
//
// Registers are not memory: reading may clear, writing may start things, and a device may refuse widths it does not
// have. So each access is one instruction of exactly its width, spelled out, because a compiler may also turn a
// volatile access into a form (with writeback, or paired) that a hypervisor cannot emulate when it traps.
//
// The order is what drivers in the kernel expect of readl and writel: a write comes after everything written to memory
// before it, so that a doorbell finds its queue entries; a read comes before everything read after it, so that what a
// status register announces is there. x86 orders uncached accesses so by itself, and only the compiler must be told;
// aarch64 needs a barrier on the outer shareable domain, where devices are.
#ifndef NATIVE_ACCESS_H
#define NATIVE_ACCESS_H

#include <cstdint>

namespace host {

#if defined(__x86_64__)

#define HOST_ACCESS(type, move, constraint)                                           \
  inline type readRegister(const volatile type* at) {                                 \
    type value;                                                                       \
    asm volatile(move " %1, %0" : "=" constraint(value) : "m"(*at) : "memory");       \
    return value;                                                                     \
  }                                                                                   \
  inline void writeRegister(volatile type* at, type value) {                          \
    asm volatile(move " %1, %0" : "=m"(*at) : constraint(value) : "memory");          \
  }

HOST_ACCESS(uint8_t, "movb", "q")
HOST_ACCESS(uint16_t, "movw", "r")
HOST_ACCESS(uint32_t, "movl", "r")
HOST_ACCESS(uint64_t, "movq", "r")

#elif defined(__aarch64__)

#define HOST_ACCESS(type, load, store, width)                                                          \
  inline type readRegister(const volatile type* at) {                                                  \
    type value;                                                                                        \
    asm volatile(load " %" width "0, [%1]\n\tdmb oshld" : "=r"(value) : "r"(at) : "memory");           \
    return value;                                                                                      \
  }                                                                                                    \
  inline void writeRegister(volatile type* at, type value) {                                           \
    asm volatile("dmb oshst\n\t" store " %" width "0, [%1]" : : "r"(value), "r"(at) : "memory");       \
  }

HOST_ACCESS(uint8_t, "ldrb", "strb", "w")
HOST_ACCESS(uint16_t, "ldrh", "strh", "w")
HOST_ACCESS(uint32_t, "ldr", "str", "w")
HOST_ACCESS(uint64_t, "ldr", "str", "x")

#else

#define HOST_ACCESS(type)                                    \
  inline type readRegister(const volatile type* at) {        \
    const type value = *at;                                  \
    __sync_synchronize();                                    \
    return value;                                            \
  }                                                          \
  inline void writeRegister(volatile type* at, type value) { \
    __sync_synchronize();                                    \
    *at = value;                                             \
  }

HOST_ACCESS(uint8_t)
HOST_ACCESS(uint16_t)
HOST_ACCESS(uint32_t)
HOST_ACCESS(uint64_t)

#endif

#undef HOST_ACCESS

}  // namespace host

#endif
