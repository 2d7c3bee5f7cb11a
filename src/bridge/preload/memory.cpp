// SPDX-License-Identifier: MIT
// The libc names for memory that the preload library takes over. Each forwards; nothing is decided
// here. Errors become errno as libc does it; on success errno is left alone.
#include "bridge/asking.hpp"
#include "bridge/environment.hpp"
#include "bridge/runtime_kind.hpp"
#include "bridge/translate.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <sys/mman.h>
#include <sys/types.h>

using namespace memreeve;

// glibc's own idea of where the break is: malloc inside libc moves it too, by the same word.
extern "C" void* __curbrk;

namespace {

long finish(long r) noexcept {
    if (r < 0) {
        errno = static_cast<int>(-r);
        return -1;
    }
    return r;
}

address number(const void* p) noexcept { return reinterpret_cast<address>(p); }

} // namespace

#define MEMREEVE_EXPORT extern "C" __attribute__((visibility("default")))

static void* map(void* where, size_t size, int prot, int flags, int fd, off_t offset,
                 const void* caller) noexcept {
    const bridge::asking by(caller);
    bridge::state* s = (flags & MAP_FIXED) != 0 ? bridge::holding() : bridge::governed();
    if (s != nullptr) {
        bridge::note_caller(*s, caller);
    }
    return reinterpret_cast<void*>(
        finish(s != nullptr ? bridge::map_memory(*s, number(where), size, prot, flags, fd, offset)
                            : prim::pass_mmap(number(where), size, prot, flags, fd, offset)));
}

MEMREEVE_EXPORT void* mmap(void* where, size_t size, int prot, int flags, int fd,
                           off_t offset) noexcept {
    return map(where, size, prot, flags, fd, offset, __builtin_return_address(0));
}

MEMREEVE_EXPORT void* mmap64(void* where, size_t size, int prot, int flags, int fd,
                             off64_t offset) noexcept {
    return map(where, size, prot, flags, fd, offset, __builtin_return_address(0));
}

MEMREEVE_EXPORT int munmap(void* where, size_t size) noexcept {
    bridge::state* s = bridge::holding();
    return static_cast<int>(finish(s != nullptr ? bridge::unmap_memory(*s, number(where), size)
                                                : prim::pass_munmap(number(where), size)));
}

MEMREEVE_EXPORT int mprotect(void* where, size_t size, int prot) noexcept {
    const bridge::asking by(__builtin_return_address(0));
    bridge::state* s = bridge::holding();
    return static_cast<int>(finish(s != nullptr
                                       ? bridge::protect_memory(*s, number(where), size, prot)
                                       : prim::pass_mprotect(number(where), size, prot)));
}

// Without a key this is mprotect. With one the access is ours to note first, the key the kernel's.
MEMREEVE_EXPORT int pkey_mprotect(void* where, size_t size, int prot, int key) noexcept {
    const int r = mprotect(where, size, prot);
    return r != 0 || key == -1
               ? r
               : static_cast<int>(finish(prim::pass_pkey_mprotect(number(where), size, prot, key)));
}

MEMREEVE_EXPORT int madvise(void* where, size_t size, int advice) noexcept {
    bridge::state* s = bridge::holding();
    return static_cast<int>(finish(s != nullptr
                                       ? bridge::advise_memory(*s, number(where), size, advice)
                                       : prim::pass_madvise(number(where), size, advice)));
}

// Gives the error as its result. glibc ignores POSIX_MADV_DONTNEED, which must not lose contents.
MEMREEVE_EXPORT int posix_madvise(void* where, size_t size, int advice) noexcept {
    if (advice == POSIX_MADV_DONTNEED) {
        return 0;
    }
    bridge::state* s = bridge::holding();
    const long r = s != nullptr ? bridge::advise_memory(*s, number(where), size, advice)
                                : prim::pass_madvise(number(where), size, advice);
    return static_cast<int>(-r);
}

MEMREEVE_EXPORT void* mremap(void* where, size_t old_size, size_t new_size, int flags,
                             ...) noexcept {
    const bridge::asking by(__builtin_return_address(0));
    address to = 0;
    if ((flags & (MREMAP_FIXED | 4 /* MREMAP_DONTUNMAP */)) != 0) {
        va_list more;
        va_start(more, flags);
        to = number(va_arg(more, void*));
        va_end(more);
    }
    bridge::state* s = bridge::holding();
    return reinterpret_cast<void*>(
        finish(s != nullptr ? bridge::remap_memory(*s, number(where), old_size, new_size, flags, to)
                            : prim::pass_mremap(number(where), old_size, new_size, flags, to)));
}

static int move_break(void* end, const void* caller) noexcept {
    const bridge::asking by(caller);
    const address now = static_cast<address>(prim::pass_brk(0));
    const address wanted = number(end);
    bridge::state* s = bridge::governed();
    if (s != nullptr && wanted > now && !bridge::may_grow_break(*s, wanted - now)) {
        errno = ENOMEM;
        return -1;
    }
    const address got = static_cast<address>(prim::pass_brk(wanted));
    __curbrk = reinterpret_cast<void*>(got);
    if (got < wanted) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

MEMREEVE_EXPORT int brk(void* end) noexcept { return move_break(end, __builtin_return_address(0)); }

MEMREEVE_EXPORT void* sbrk(intptr_t increment) noexcept {
    const address now = static_cast<address>(prim::pass_brk(0));
    __curbrk = reinterpret_cast<void*>(now);
    if (increment == 0) {
        return reinterpret_cast<void*>(now);
    }
    const bool wraps = increment > 0 ? now + static_cast<address>(increment) < now
                                     : now < static_cast<address>(-increment);
    if (wraps || move_break(reinterpret_cast<void*>(now + static_cast<address>(increment)),
                            __builtin_return_address(0)) != 0) {
        errno = ENOMEM;
        return reinterpret_cast<void*>(-1);
    }
    return reinterpret_cast<void*>(now);
}
