// SPDX-License-Identifier: MIT
#include "prim/prim.hpp"

#include <cerrno>
#include <sys/mman.h>
#include <sys/syscall.h>

// Not in every Debian 12 header; kernel ABI, fixed for ever.
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

namespace memreeve::prim {
namespace {

// MAP_NORESERVE keeps sparse ranges out of the overcommit heuristic.
constexpr int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

constexpr long number(address a) noexcept { return static_cast<long>(a); }
constexpr bool failed(long r) noexcept { return r < 0 && r >= -4095; }
constexpr int code(long r) noexcept { return failed(r) ? static_cast<int>(-r) : 0; }

constexpr int protection(access allowed) noexcept {
    return (allows(allowed, access::read) ? PROT_READ : 0) |
           (allows(allowed, access::write) ? PROT_WRITE : 0) |
           (allows(allowed, access::execute) ? PROT_EXEC : 0);
}

long map_anonymous(address where, byte_count size, int prot, int flags) noexcept {
    return sys(SYS_mmap, number(where), number(size), prot, anonymous | flags, -1, 0);
}

int place(long r, address* out) noexcept {
    if (failed(r)) {
        return code(r);
    }
    *out = static_cast<address>(r);
    return 0;
}

int advise(address where, byte_count size, int advice) noexcept {
    return code(sys(SYS_madvise, number(where), number(size), advice));
}

} // namespace

int reserve(address where, byte_count size, placement how, address* out) noexcept {
    switch (how) {
    case placement::anywhere: return place(map_anonymous(where, size, PROT_NONE, 0), out);
    case placement::exactly: {
        const long r = map_anonymous(where, size, PROT_NONE, MAP_FIXED_NOREPLACE);
        if (!failed(r) && static_cast<address>(r) != where) {
            // Before 4.17 the flag is unknown and the address a mere hint.
            (void)unmap(static_cast<address>(r), size);
            return EEXIST;
        }
        return place(r, out);
    }
    case placement::low:
#ifdef MAP_32BIT
        return place(map_anonymous(where, size, PROT_NONE, MAP_32BIT), out);
#else
        return ENOMEM;
#endif
    }
    return EINVAL;
}

int map_records(byte_count size, address* out) noexcept {
    return place(map_anonymous(0, size, PROT_READ | PROT_WRITE, 0), out);
}

int unmap(address where, byte_count size) noexcept {
    return code(sys(SYS_munmap, number(where), number(size)));
}

int protect(address where, byte_count size, access allowed) noexcept {
    return code(sys(SYS_mprotect, number(where), number(size), protection(allowed)));
}

int discard(address where, byte_count size) noexcept {
    const int r = advise(where, size, MADV_DONTNEED);
    // MADV_DONTNEED refuses mlocked pages; the locked form exists since 5.18.
    return r == EINVAL ? advise(where, size, MADV_DONTNEED_LOCKED) : r;
}

int discard_lazily(address where, byte_count size) noexcept {
    return advise(where, size, MADV_FREE);
}

int install_guard(address where, byte_count size) noexcept {
    return advise(where, size, MADV_GUARD_INSTALL);
}

int forgo_huge_pages(address where, byte_count size) noexcept {
    return advise(where, size, MADV_NOHUGEPAGE);
}

int remove_guard(address where, byte_count size) noexcept {
    return advise(where, size, MADV_GUARD_REMOVE);
}

int unlock(address where, byte_count size) noexcept {
    return code(sys(SYS_munlock, number(where), number(size)));
}

namespace {
bool reads_zeroes(address page) noexcept {
    constexpr unsigned at_once = 8;
    const auto* words = reinterpret_cast<const std::uint64_t*>(page);
    for (unsigned i = 0; i < page_size / sizeof *words; i += at_once) {
        std::uint64_t any = 0;
        for (unsigned k = 0; k < at_once; ++k) {
            any |= words[i + k];
        }
        if (any != 0) {
            return false;
        }
    }
    return true;
}
} // namespace

int zero(address where, byte_count size, page_count most, page_count* kept,
         page_count* written) noexcept {
    constexpr page_count at_once = 512;
    unsigned char there[at_once];
    *kept = 0;
    for (address end = where + size; where < end;) {
        const page_count left = pages_of(end - where);
        const page_count count = left < at_once ? left : at_once;
        const int e = code(sys(SYS_mincore, number(where), number(bytes_of(count)),
                               static_cast<long>(reinterpret_cast<address>(there))));
        page_count resident = 0;
        page_count changes = 0;
        for (page_count i = 0; e == 0 && i < count; ++i) {
            resident += there[i] & 1;
            changes += i != 0 && ((there[i] ^ there[i - 1]) & 1) != 0 ? 1 : 0;
        }
        // A call for each gap costs more than a few faults.
        if (e != 0 || resident == 0 || *kept + resident > most || changes > 64) {
            if (const int d = discard(where, bytes_of(count)); d != 0) {
                return d;
            }
        } else {
            for (page_count i = 0; i < count;) {
                page_count last = i + 1;
                while (last < count && ((there[last] ^ there[i]) & 1) == 0) {
                    ++last;
                }
                const address at = where + bytes_of(i);
                for (page_count k = i; written != nullptr && (there[i] & 1) != 0 && k < last; ++k) {
                    if (const address page = where + bytes_of(k); !reads_zeroes(page)) {
                        __builtin_memset(reinterpret_cast<void*>(page), 0, page_size);
                        ++*written;
                    }
                }
                if ((there[i] & 1) != 0 && written == nullptr) {
                    __builtin_memset(reinterpret_cast<void*>(at), 0, bytes_of(last - i));
                } else if (const int d = (there[i] & 1) != 0 ? 0 : discard(at, bytes_of(last - i));
                           d != 0) {
                    return d;
                }
                i = last;
            }
            *kept += resident;
        }
        where += bytes_of(count);
    }
    return 0;
}

int replace_by_reserved(address where, byte_count size) noexcept {
    return code(map_anonymous(where, size, PROT_NONE, MAP_FIXED));
}

int replace_by_anonymous(address where, byte_count size, access allowed) noexcept {
    return code(map_anonymous(where, size, static_cast<int>(allowed), MAP_FIXED));
}

int wipe_on_fork(address where, byte_count size) noexcept {
    return advise(where, size, MADV_WIPEONFORK);
}

int move_pages(address from, address to, byte_count size) noexcept {
    return code(sys(SYS_mremap, number(from), number(size), number(size),
                    MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, number(to)));
}

long pass_mmap(address where, byte_count size, int prot, int flags, int fd,
               std::int64_t offset) noexcept {
    return sys(SYS_mmap, number(where), number(size), prot, flags, fd, offset);
}

long pass_munmap(address where, byte_count size) noexcept {
    return sys(SYS_munmap, number(where), number(size));
}

long pass_mprotect(address where, byte_count size, int prot) noexcept {
    return sys(SYS_mprotect, number(where), number(size), prot);
}

long pass_madvise(address where, byte_count size, int advice) noexcept {
    return sys(SYS_madvise, number(where), number(size), advice);
}

long pass_mremap(address where, byte_count old_size, byte_count new_size, int flags,
                 address to) noexcept {
    return sys(SYS_mremap, number(where), number(old_size), number(new_size), flags, number(to));
}

long pass_brk(address end) noexcept { return sys(SYS_brk, number(end)); }

int map_shared(int fd, byte_count size, bool writable, address* out) noexcept {
    const int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    return place(sys(SYS_mmap, 0, number(size), prot, MAP_SHARED, fd, 0), out);
}

} // namespace memreeve::prim
