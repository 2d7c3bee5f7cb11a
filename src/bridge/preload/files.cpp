// SPDX-License-Identifier: MIT
// The libc names for files that are memory. Each forwards; nothing is decided here. Errors become
// errno as libc does it; on success errno is left alone. shmget gives no memory: shmat does.
#include "bridge/asking.hpp"
#include "bridge/shared_files.hpp"
#include "prim/file_view.hpp"

#include <atomic>
#include <cerrno>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/types.h>

using namespace memreeve;

#define MEMREEVE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

long finish(long r) noexcept {
    if (r < 0) {
        errno = static_cast<int>(-r);
        return -1;
    }
    return r;
}

address number(const void* p) noexcept { return reinterpret_cast<address>(p); }

// libc's own, found at the first use: names and paths are its business.
template <class F>
F* libc_function(std::atomic<F*>& known, const char* name) noexcept {
    F* f = known.load(std::memory_order_relaxed);
    if (f == nullptr) {
        f = reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
        known.store(f, std::memory_order_relaxed);
    }
    return f;
}

constinit std::atomic<int (*)(const char*, int, mode_t)> libc_shm_open{nullptr};
constinit std::atomic<int (*)(const char*)> libc_shm_unlink{nullptr};
constinit std::atomic<int (*)(int, int, shmid_ds*)> libc_shmctl{nullptr};
constinit std::atomic<int (*)(int, off_t, off_t)> libc_posix_fallocate{nullptr};

int no_function() noexcept {
    errno = ENOSYS;
    return -1;
}

} // namespace

MEMREEVE_EXPORT int memfd_create(const char* name, unsigned flags) noexcept {
    bridge::state* s = bridge::governed();
    return static_cast<int>(finish(s != nullptr ? bridge::create_memory_file(*s, name, flags)
                                                : prim::pass_memfd_create(name, flags)));
}

MEMREEVE_EXPORT int ftruncate(int fd, off_t size) noexcept {
    const bridge::asking by(__builtin_return_address(0));
    bridge::state* s = bridge::holding();
    return static_cast<int>(
        finish(s != nullptr ? bridge::resize_file(*s, fd, size) : prim::pass_ftruncate(fd, size)));
}

MEMREEVE_EXPORT int ftruncate64(int fd, off64_t size) noexcept { return ftruncate(fd, size); }

MEMREEVE_EXPORT int fallocate(int fd, int mode, off_t offset, off_t size) {
    const bridge::asking by(__builtin_return_address(0));
    const bool takes = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
    bridge::state* s = takes ? bridge::holding() : bridge::governed();
    return static_cast<int>(finish(s != nullptr ? bridge::allocate_file(*s, fd, mode, offset, size)
                                                : prim::pass_fallocate(fd, mode, offset, size)));
}

MEMREEVE_EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    return fallocate(fd, mode, offset, size);
}

// Gives the error as its result. What is no memory is libc's: it has a way round file systems that
// cannot allocate.
MEMREEVE_EXPORT int posix_fallocate(int fd, off_t offset, off_t size) {
    const bridge::asking by(__builtin_return_address(0));
    bridge::state* s = bridge::governed();
    if (s != nullptr && offset >= 0 && size > 0 && bridge::is_memory_file(*s, fd)) {
        return static_cast<int>(-bridge::allocate_file(*s, fd, 0, offset, size));
    }
    auto* const libc = libc_function(libc_posix_fallocate, "posix_fallocate");
    return libc != nullptr ? libc(fd, offset, size) : ENOSYS;
}

MEMREEVE_EXPORT int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    return posix_fallocate(fd, offset, size);
}

MEMREEVE_EXPORT int shm_open(const char* name, int flags, mode_t mode) {
    auto* const libc = libc_function(libc_shm_open, "shm_open");
    if (libc == nullptr) {
        return no_function();
    }
    const int fd = libc(name, flags, mode);
    if (fd >= 0) {
        if (bridge::state* s = bridge::governed()) {
            bridge::note_posix_object(*s, fd, name);
        }
    }
    return fd;
}

MEMREEVE_EXPORT int shm_unlink(const char* name) {
    auto* const libc = libc_function(libc_shm_unlink, "shm_unlink");
    if (libc == nullptr) {
        return no_function();
    }
    const int r = libc(name);
    if (r == 0) {
        if (bridge::state* s = bridge::governed()) {
            bridge::after_removal(*s);
        }
    }
    return r;
}

MEMREEVE_EXPORT void* shmat(int id, const void* where, int flags) noexcept {
    const bridge::asking by(__builtin_return_address(0));
    bridge::state* s = bridge::governed();
    return reinterpret_cast<void*>(finish(s != nullptr
                                              ? bridge::attach_segment(*s, id, number(where), flags)
                                              : prim::pass_shmat(id, number(where), flags)));
}

MEMREEVE_EXPORT int shmdt(const void* where) noexcept {
    bridge::state* s = bridge::holding();
    return static_cast<int>(finish(s != nullptr ? bridge::detach_segment(*s, number(where))
                                                : prim::pass_shmdt(number(where))));
}

MEMREEVE_EXPORT int shmctl(int id, int command, struct shmid_ds* about) noexcept {
    auto* const libc = libc_function(libc_shmctl, "shmctl");
    if (libc == nullptr) {
        return no_function();
    }
    const int r = libc(id, command, about);
    if (r >= 0 && command == IPC_RMID) {
        if (bridge::state* s = bridge::governed()) {
            bridge::after_removal(*s);
        }
    }
    return r;
}
