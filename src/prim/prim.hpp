// SPDX-License-Identifier: MIT
// prim: the operating system, alone. The only folder that includes its headers or calls it.
//
// Rules for everything here
//   - Addresses are page aligned and non-null, sizes positive multiples of the page size, unless a
//     function says otherwise. Callers check; prim does not repeat it.
//   - A function reports, it does not decide: the result is 0 for success or the errno value.
//     Functions that return a count or descriptor give it as `long`, negative errno on failure.
//   - errno is left alone, nothing is allocated, nothing is thrown, no libc function is called that
//     a bridge may have replaced. Async-signal-safe.
//   - Every call passes through one function, sys(). Which one is linked decides the back end:
//       raw     the syscall instruction (bridge, library)
//       libc    libc's wrappers, so that sanitizers see every mapping
//       faulty  fails the n-th call on request and tells whether it was hit (tests)
//       fake    a modelled kernel with a mapping limit over real bytes (tests)
//     tools/check_seam.py proves that no other folder calls the system.
#pragma once

#include "base/access.hpp"
#include "base/units.hpp"

#include <cstddef>
#include <cstdint>

namespace memreeve::prim {

// ---- the seam ------------------------------------------------------------------------------
// One system call. Returns the kernel's value: negative errno on failure.
long sys(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
         long f = 0) noexcept;

// ---- memory --------------------------------------------------------------------------------
enum class placement : unsigned char {
    anywhere, // the kernel chooses
    exactly,  // at `where` or EEXIST; nothing that is mapped is ever replaced
    low,      // below 2 GiB
};

// Address space without memory: inaccessible, private, anonymous, not counted by overcommit.
int reserve(address where, byte_count size, placement how, address* out) noexcept;
// Read-write private anonymous memory, for memreeve's own records.
int map_records(byte_count size, address* out) noexcept;
int unmap(address where, byte_count size) noexcept;
// Not atomic: on failure a prefix of the range may have changed.
int protect(address where, byte_count size, access allowed) noexcept;
// Drops contents; the next touch reads zeroes. Locked pages too.
int discard(address where, byte_count size) noexcept;
// Contents may be dropped when memory is short (MADV_FREE).
int discard_lazily(address where, byte_count size) noexcept;
// A touch brings one page there. EINVAL: no touch ever brings more.
int forgo_huge_pages(address where, byte_count size) noexcept;
// Drops contents and marks the pages: every access faults, whatever the mapping allows, and no mapping
// is split. Inaccessible private anonymous memory may be marked too. EINVAL: the kernel is older than
// 6.13, or pages are locked. A prefix may be done on failure.
int install_guard(address where, byte_count size) noexcept;
// Takes the marks off; pages without one keep their contents.
int remove_guard(address where, byte_count size) noexcept;
int unlock(address where, byte_count size) noexcept;
// Makes writable private anonymous memory read zeroes: pages that are there are written over and stay,
// when they are at most `most`, the others (swapped out, perhaps) are dropped. *kept: pages that are there
// afterwards, at least. *written, where asked for: those of them that did not read zeroes before. On failure
// contents may remain.
int zero(address where, byte_count size, page_count most, page_count* kept,
         page_count* written = nullptr) noexcept;
// Puts inaccessible anonymous memory over whatever is mapped there.
int replace_by_reserved(address where, byte_count size) noexcept;
// The same with access: zero-filled memory that may be used so.
int replace_by_anonymous(address where, byte_count size, access allowed) noexcept;
// Zero-filled in a child after fork; untouched in a child that shares memory.
int wipe_on_fork(address where, byte_count size) noexcept;
// Moves the pages of a private anonymous range and leaves the source mapped and empty.
int move_pages(address from, address to, byte_count size) noexcept;

// ---- a foreign program's own calls, passed on as they are (bridge) ---------------------------
// Arguments and results are the kernel's: unaligned addresses allowed, negative errno on failure.
long pass_mmap(address where, byte_count size, int prot, int flags, int fd,
               std::int64_t offset) noexcept;
long pass_munmap(address where, byte_count size) noexcept;
long pass_mprotect(address where, byte_count size, int prot) noexcept;
long pass_madvise(address where, byte_count size, int advice) noexcept;
long pass_mremap(address where, byte_count old_size, byte_count new_size, int flags,
                 address to) noexcept;
long pass_brk(address end) noexcept; // the kernel's: returns the break in force

// ---- what the kernel says is mapped ---------------------------------------------------------
struct mapping {
    range where;
    access allowed = access::none;
    bool shared = false;
    bool has_file = false;    // backed by a file (or a memfd, or SysV memory)
    std::uint64_t offset = 0; // into the file
    std::uint64_t inode = 0;
    std::uint32_t device = 0; // major << 20 | minor
};
// The mapping that contains `at`, or else the next above it. ENOENT when there is none.
// Uses PROCMAP_QUERY where the kernel has it (6.11), else a raw read of /proc/self/maps.
int find_mapping(address at, mapping* out) noexcept;
// The same for many questions: a descriptor to ask, closed by the caller.
long open_mappings() noexcept;
int find_mapping_in(int mappings, address at, mapping* out) noexcept;

// ---- files (paths are NUL-terminated; all opened O_CLOEXEC) -----------------------------------
long open_read(const char* path) noexcept;
long open_read_write(const char* path) noexcept;
long create_memfd(const char* name) noexcept;
long read(int fd, void* buffer, std::size_t size) noexcept; // retried on EINTR
long read_at(int fd, void* buffer, std::size_t size, std::uint64_t offset) noexcept;
long write(int fd, const void* buffer, std::size_t size) noexcept; // retried on EINTR
int resize(int fd, std::uint64_t size) noexcept;
int close(int fd) noexcept;
// Shared read-write (or read-only) view of a file.
int map_shared(int fd, byte_count size, bool writable, address* out) noexcept;

// ---- process, time, waiting ------------------------------------------------------------------
int process_id() noexcept;
int thread_id() noexcept;
// False only when that process has no thread of that number.
bool thread_exists(int process, int thread) noexcept;
// Points to what is not 0 while this process has but one thread.
const volatile char* single_thread_flag() noexcept;
// Field 22 of /proc/PID/stat: with the pid it names one process for ever. 0 when unknown.
std::uint64_t process_start_time(int pid) noexcept;
// Nanoseconds of the monotonic clock; through the vdso, so no system call.
std::uint64_t now_ns() noexcept;
// Processor time that this thread has used, in nanoseconds: what others took from it does not count.
std::uint64_t thread_time_ns() noexcept;
void yield() noexcept;
// Waits while *word == expected, at most timeout_ns (0: as long as it takes). Callers look again
// themselves: it may return early, and does after a second, so that no lost wake-up is for ever.
void wait_on(const std::uint32_t* word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept;
void wake_all(const std::uint32_t* word) noexcept;
// One line to standard error, in one write.
void say(const char* line) noexcept;
[[noreturn]] void exit_now(int status) noexcept;

// ---- threads (only where a subscriber asked for one; uses pthread_create) ----------------------
struct thread_handle {
    unsigned long value = 0;
};
// 0 or errno. All signals blocked in the new thread.
int start_thread(void (*run)(void*), void* argument, thread_handle* out) noexcept;
void join_thread(thread_handle thread) noexcept;

} // namespace memreeve::prim
