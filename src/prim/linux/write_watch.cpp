// SPDX-License-Identifier: MIT
#include "prim/write_watch.hpp"

#include "prim/prim.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// Kernel ABI that is not in every Debian 12 header.
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

namespace memreeve::prim {

namespace {

long number(const void* p) noexcept { return reinterpret_cast<long>(p); }

// ---- userfaultfd (linux/userfaultfd.h) ------------------------------------------------------------
struct watcher_api {
    std::uint64_t version;
    std::uint64_t features;
    std::uint64_t ioctls;
};
struct watcher_register {
    std::uint64_t begin;
    std::uint64_t size;
    std::uint64_t mode;
    std::uint64_t ioctls;
};
constexpr long user_mode_only = 1;
constexpr std::uint64_t api_version = 0xaa;
constexpr std::uint64_t write_protect_unpopulated = 1U << 13;
constexpr std::uint64_t write_protect_async = 1U << 15;
constexpr std::uint64_t mode_write_protect = 2;
constexpr long set_api = 0xc018aa3f;        // _IOWR(0xAA, 0x3F, struct of 24 bytes)
constexpr long register_range = 0xc020aa00; // _IOWR(0xAA, 0x00, struct of 32 bytes)

// ---- PAGEMAP_SCAN (linux/fs.h) ---------------------------------------------------------------------
struct scanned_run {
    std::uint64_t begin;
    std::uint64_t end;
    std::uint64_t categories;
};
struct scan_request {
    std::uint64_t size;
    std::uint64_t flags;
    std::uint64_t begin;
    std::uint64_t end;
    std::uint64_t walked;
    std::uint64_t runs;
    std::uint64_t capacity;
    std::uint64_t most_pages;
    std::uint64_t inverted;
    std::uint64_t all_of;
    std::uint64_t any_of;
    std::uint64_t reported;
};
constexpr long scan_pages = 0xc0606610; // _IOWR('f', 16, struct of 96 bytes)
constexpr std::uint64_t reset_matching = 1;
constexpr std::uint64_t must_be_watched = 2;
constexpr std::uint64_t is_written = 2;
constexpr std::uint64_t is_present = 8;
constexpr std::uint64_t is_swapped = 16;
constexpr std::uint64_t is_zero_page = 32;
static_assert(sizeof(watcher_api) == 24 && sizeof(watcher_register) == 32 &&
              sizeof(scan_request) == 96);

} // namespace

long open_write_watcher() noexcept {
    const long fd = sys(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | user_mode_only);
    if (fd < 0) {
        // EPERM: forbidden to this process; EINVAL: a kernel without user_mode_only.
        return fd == -EPERM || fd == -EINVAL ? -ENOSYS : fd;
    }
    watcher_api api{api_version, write_protect_async | write_protect_unpopulated, 0};
    if (const long r = sys(SYS_ioctl, fd, set_api, number(&api)); r != 0) {
        (void)close(static_cast<int>(fd));
        return r == -EINVAL || r == -EPERM ? -ENOSYS : r;
    }
    return fd;
}

int watch_writes(int watcher, address where, byte_count size) noexcept {
    // One write into a huge page would mark 512. EINVAL: a kernel that has none.
    (void)sys(SYS_madvise, static_cast<long>(where), static_cast<long>(size), MADV_NOHUGEPAGE);
    watcher_register r{where, size, mode_write_protect, 0};
    return static_cast<int>(-sys(SYS_ioctl, watcher, register_range, number(&r)));
}

long open_page_marks() noexcept { return open_read("/proc/self/pagemap"); }

long written_pages(int page_marks, range where, bool reset, page_count most, range* out,
                   std::size_t capacity, address* walked) noexcept {
    constexpr std::size_t at_once = 64;
    scanned_run runs[at_once];
    scan_request q{};
    q.size = sizeof q;
    q.flags = must_be_watched | (reset ? reset_matching : 0);
    q.begin = where.begin;
    q.end = where.end;
    q.runs = reinterpret_cast<std::uint64_t>(runs);
    q.capacity = capacity < at_once ? capacity : at_once;
    q.most_pages = most;
    // Present or swapped out, or else a page nobody has touched would count; and not the page of
    // zeroes that a mere read puts there.
    q.inverted = is_zero_page;
    q.all_of = is_written | is_zero_page;
    q.any_of = is_present | is_swapped;
    q.reported = is_written;
    const long count = sys(SYS_ioctl, page_marks, scan_pages, number(&q));
    for (long i = 0; i < count; ++i) {
        out[i] = {runs[i].begin, runs[i].end};
    }
    *walked = q.walked;
    return count;
}

int mark_written(int watcher, address where, byte_count size) noexcept {
    struct {
        std::uint64_t begin;
        std::uint64_t size;
        std::uint64_t mode;
    } q{where, size, 0};
    constexpr long write_protect = 0xc018aa06; // _IOWR(0xAA, 0x06, struct of 24 bytes)
    return static_cast<int>(-sys(SYS_ioctl, watcher, write_protect, number(&q)));
}

bool all_present(range where) noexcept {
    constexpr page_count at_once = 512;
    unsigned char marks[at_once];
    for (address a = where.begin; a < where.end;) {
        const page_count left = pages_of(where.end - a);
        const page_count n = left < at_once ? left : at_once;
        if (sys(SYS_mincore, static_cast<long>(a), static_cast<long>(bytes_of(n)), number(marks)) !=
            0) {
            return false;
        }
        for (page_count i = 0; i < n; ++i) {
            if ((marks[i] & 1) == 0) {
                return false;
            }
        }
        a += bytes_of(n);
    }
    return true;
}

void make_dirty(address where) noexcept {
    auto* const byte = reinterpret_cast<unsigned char*>(where);
#if defined(__x86_64__)
    // In assembly: compilers turn an "or nothing" into a load, and sanitizers touch memory of theirs.
    asm volatile("lock orb $0, %0" : "+m"(*byte));
#else
    unsigned char nothing = 0;
    asm volatile("" : "+r"(nothing));
    __atomic_fetch_or(byte, nothing, __ATOMIC_RELAXED);
#endif
}

int unlock_from_memory(address where, byte_count size) noexcept {
    return static_cast<int>(-sys(SYS_munlock, static_cast<long>(where), static_cast<long>(size)));
}

int has_locked_page(address where, byte_count size) noexcept {
    // What msync(2) says of MS_INVALIDATE; without MS_SYNC nothing is written.
    const long r =
        sys(SYS_msync, static_cast<long>(where), static_cast<long>(size), MS_ASYNC | MS_INVALIDATE);
    return r == -EBUSY ? 1 : static_cast<int>(r);
}

int reserve_large(address where, byte_count size, address* out) noexcept {
    constexpr int huge = 0x40000;
    constexpr int of_2_mib = 21 << 26;
    const int flags =
        MAP_PRIVATE | MAP_ANONYMOUS | huge | of_2_mib | (where != 0 ? MAP_FIXED_NOREPLACE : 0);
    const long r =
        sys(SYS_mmap, static_cast<long>(where), static_cast<long>(size), PROT_NONE, flags, -1, 0);
    if (r < 0 && r >= -4095) {
        return static_cast<int>(-r);
    }
    *out = static_cast<address>(r);
    return 0;
}

long own_page_faults() noexcept {
    struct rusage so_far {};
    constexpr long this_thread = 1; // RUSAGE_THREAD
    const long r = sys(SYS_getrusage, this_thread, number(&so_far));
    return r != 0 ? r : so_far.ru_minflt;
}

address initial_stack() noexcept { return static_cast<address>(getauxval(AT_RANDOM)); }

byte_count stack_limit() noexcept {
    struct rlimit now {};
    if (sys(SYS_prlimit64, 0, RLIMIT_STACK, 0, number(&now)) != 0) {
        return ~byte_count{0};
    }
    return now.rlim_cur;
}

} // namespace memreeve::prim
