// SPDX-License-Identifier: MIT
// A host with one owner and its memory manager, and the sequences of calls that the rows are about.
#pragma once

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace memreeve::bench {

inline constexpr std::uint64_t page = 4096;
inline constexpr std::uint64_t small = 65536;
inline constexpr std::uint64_t large = std::uint64_t{16} << 20;
inline constexpr DWORD commit = 0x1000, reserve = 0x2000, decommit = 0x4000, release = 0x8000;
inline constexpr DWORD readonly = 2, readwrite = 4, guarded = 0x104;

inline void must(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "bench_vm: %s failed\n", what);
        std::exit(2);
    }
}

enum class host_kind { plain, relaxed, no_guard };

struct host {
    explicit host(host_kind kind = host_kind::plain) : host(options_of(kind)) {}
    explicit host(const mrv_host_options& options) {
        must(mrv_host_create(&options, &handle) == MRV_OK &&
                 mrv_owner_create(handle, nullptr, nullptr, &owner) == MRV_OK &&
                 mrv_owner_memory_manager(owner, &memory) == MRV_OK,
             "making a host");
    }
    host(const host&) = delete;
    host& operator=(const host&) = delete;
    ~host() {
        memory->Release();
        mrv_owner_destroy(owner);
        mrv_host_destroy(handle);
    }

    static mrv_host_options options_of(host_kind kind) {
        mrv_host_options o{};
        o.size = sizeof o;
        o.faulting = kind == host_kind::relaxed ? MRV_FAULTING_RELAXED : MRV_FAULTING_STRICT;
        o.flags = kind == host_kind::no_guard ? no_guard_pages : 0;
        return o;
    }
    // Whether this version of memreeve has such hosts.
    static bool exists(host_kind kind) {
        const mrv_host_options o = options_of(kind);
        mrv_host* made = nullptr;
        const bool is_made = mrv_host_create(&o, &made) == MRV_OK;
        mrv_host_destroy(made);
        return is_made;
    }

    void* alloc(void* at, std::uint64_t size, DWORD type, DWORD protect = readwrite) const {
        void* got = nullptr;
        return memory->VirtualAlloc(at, size, type, protect, eTaskCritical, &got) == S_OK ? got
                                                                                          : nullptr;
    }

    mrv_host* handle = nullptr;
    mrv_owner* owner = nullptr;
    IHostMemoryManager* memory = nullptr;

private:
    static constexpr std::uint32_t no_guard_pages = 4; // a host flag
};

inline void touch(void* at, unsigned pages) {
    for (unsigned i = 0; i < pages; ++i) {
        static_cast<volatile char*>(at)[i * page] = 1;
    }
}

inline void cycle(const host& h, unsigned touched) {
    void* p = h.alloc(nullptr, small, reserve);
    h.alloc(p, small, commit);
    touch(p, touched);
    h.memory->VirtualFree(p, small, decommit);
    h.memory->VirtualFree(p, 0, release);
}

// S0: what a caller without memreeve does.
inline void naked_cycle(unsigned touched) {
    void* p = mmap(nullptr, small, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    mprotect(p, small, PROT_READ | PROT_WRITE);
    touch(p, touched);
    madvise(p, small, MADV_DONTNEED);
    mprotect(p, small, PROT_NONE);
    munmap(p, small);
}

} // namespace memreeve::bench
