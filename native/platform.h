// What this addon runs on: 64-bit little-endian Linux. binding.gyp builds nothing elsewhere; this is for whoever
// compiles it by other means.
#ifndef NATIVE_PLATFORM_H
#define NATIVE_PLATFORM_H

#if !defined(__linux__)
#error "this addon makes Linux system calls"
#endif
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the structs that callers encode are little-endian"
#endif
#if __SIZEOF_POINTER__ != 8
#error "addresses and 64-bit register accesses need a 64-bit processor"
#endif

#endif
