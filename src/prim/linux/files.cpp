// SPDX-License-Identifier: MIT
#include "prim/prim.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace memreeve::prim {
namespace {

long number(const void* p) noexcept { return reinterpret_cast<long>(p); }

template <class F>
long retried(F call) noexcept {
    long r = call();
    while (r == -EINTR) {
        r = call();
    }
    return r;
}

long open_with(const char* path, int flags) noexcept {
    return retried([&] { return sys(SYS_openat, AT_FDCWD, number(path), flags | O_CLOEXEC, 0); });
}

} // namespace

long open_read(const char* path) noexcept { return open_with(path, O_RDONLY); }
long open_read_write(const char* path) noexcept { return open_with(path, O_RDWR); }

long create_memfd(const char* name) noexcept {
    return sys(SYS_memfd_create, number(name), static_cast<long>(MFD_CLOEXEC));
}

long read(int fd, void* buffer, std::size_t size) noexcept {
    return retried([&] { return sys(SYS_read, fd, number(buffer), static_cast<long>(size)); });
}

long read_at(int fd, void* buffer, std::size_t size, std::uint64_t offset) noexcept {
    return retried([&] {
        return sys(SYS_pread64, fd, number(buffer), static_cast<long>(size),
                   static_cast<long>(offset));
    });
}

long write(int fd, const void* buffer, std::size_t size) noexcept {
    return retried([&] { return sys(SYS_write, fd, number(buffer), static_cast<long>(size)); });
}

int resize(int fd, std::uint64_t size) noexcept {
    return static_cast<int>(
        -retried([&] { return sys(SYS_ftruncate, fd, static_cast<long>(size)); }));
}

int close(int fd) noexcept {
    // Not retried: Linux has freed the descriptor when it answers EINTR.
    const long r = sys(SYS_close, fd);
    return r == -EINTR ? 0 : static_cast<int>(-r);
}

} // namespace memreeve::prim
