// SPDX-License-Identifier: MIT
#include "prim/process_view.hpp"

#include "prim/prim.hpp"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace memreeve::prim {

namespace {
long number(const void* p) noexcept { return reinterpret_cast<long>(p); }
} // namespace

bool is_privileged() noexcept { return getauxval(AT_SECURE) != 0; }

long read_link(const char* path, char* out, std::size_t size) noexcept {
    return sys(SYS_readlinkat, AT_FDCWD, number(path), number(out), static_cast<long>(size));
}

void populate(address where, byte_count size) noexcept {
    constexpr int populate_read = 22;
    constexpr int populate_write = 23;
    if (pass_madvise(where, size, populate_write) != 0) {
        static_cast<void>(pass_madvise(where, size, populate_read));
    }
}

int lock_in_memory(address where, byte_count size) noexcept {
    return static_cast<int>(-sys(SYS_mlock, static_cast<long>(where), static_cast<long>(size)));
}

long pass_execve(const char* path, char* const* arguments, char* const* environment) noexcept {
    return sys(SYS_execve, number(path), number(arguments), number(environment));
}

long pass_execveat(int fd, const char* path, char* const* arguments, char* const* environment,
                   int flags) noexcept {
    return sys(SYS_execveat, fd, number(path), number(arguments), number(environment), flags);
}

} // namespace memreeve::prim
