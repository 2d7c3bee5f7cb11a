// SPDX-License-Identifier: MIT
// The back end of the library and the bridge: the instruction itself. libc's wrappers may be
// replaced by the program, by a sanitizer or by memreeve's own bridge, and they write errno.
#include "prim/prim.hpp"

namespace memreeve::prim {

#if defined(__x86_64__)

long sys(long number, long a, long b, long c, long d, long e, long f) noexcept {
    long result = number;
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

long sys(long number, long a, long b, long c, long d, long e, long f) noexcept {
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    register long x4 asm("x4") = e;
    register long x5 asm("x5") = f;
    asm volatile("svc #0"
                 : "+r"(x0)
                 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                 : "memory");
    return x0;
}

#else
#error "memreeve knows the system call instruction of x86-64 and aarch64 only"
#endif

} // namespace memreeve::prim
