// SPDX-License-Identifier: MIT
// One system call through libc's wrapper where a sanitizer intercepts one: a mapping made by the
// bare instruction at a recycled address looks to ThreadSanitizer like a race with its former life.
// Shared by the libc, faulty and fake back ends; in the style of the kernel: negative errno.
#pragma once

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace memreeve::prim {

inline void* as_pointer(long value) noexcept {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(value));
}

inline long libc_wrapper(long number, long a, long b, long c, long d, long e, long f) noexcept {
    const auto size = [](long value) { return static_cast<std::size_t>(value); };
    const auto small = [](long value) { return static_cast<int>(value); };
    switch (number) {
    case SYS_mmap:
        return reinterpret_cast<long>(
            ::mmap(as_pointer(a), size(b), small(c), small(d), small(e), f));
    case SYS_munmap: return ::munmap(as_pointer(a), size(b));
    case SYS_mprotect: return ::mprotect(as_pointer(a), size(b), small(c));
    case SYS_madvise: return ::madvise(as_pointer(a), size(b), small(c));
    case SYS_mremap:
        return reinterpret_cast<long>(
            ::mremap(as_pointer(a), size(b), size(c), small(d), as_pointer(e)));
    case SYS_openat:
        if (b == 0) {
            break; // libc declares it never null; the kernel answers EFAULT
        }
        return ::openat(small(a), static_cast<const char*>(as_pointer(b)), small(c), small(d));
    case SYS_read: return ::read(small(a), as_pointer(b), size(c));
    case SYS_pread64: return ::pread(small(a), as_pointer(b), size(c), d);
    case SYS_write: return ::write(small(a), as_pointer(b), size(c));
    case SYS_close: return ::close(small(a));
    case SYS_ftruncate: return ::ftruncate(small(a), b);
    default: break;
    }
    return ::syscall(number, a, b, c, d, e, f);
}

inline long libc_call(long number, long a, long b, long c, long d, long e, long f) noexcept {
    const int kept = errno;
    errno = 0;
    long result = libc_wrapper(number, a, b, c, d, e, f);
    if (result == -1 && errno != 0) {
        result = -static_cast<long>(errno);
    }
    errno = kept;
    return result;
}

} // namespace memreeve::prim
