// SPDX-License-Identifier: MIT
// Many live regions, asked about and changed in random order; and one large one in mixed states.
#pragma once

#include "measure.hpp"
#include "vm_host.hpp"

#include <cmath>
#include <random>
#include <vector>

namespace memreeve::bench {

// N live regions of 64 KiB, all committed, in random order of address.
struct population {
    explicit population(unsigned n) {
        for (unsigned i = 0; i < n; ++i) {
            at.push_back(h.alloc(nullptr, small, reserve | commit));
            must(at.back() != nullptr, "VirtualAlloc");
        }
        std::shuffle(at.begin(), at.end(), std::mt19937(n));
    }
    // From the n-th region on: threads that begin apart.
    void query(std::uint64_t operations, std::size_t& n) const {
        MEMORY_BASIC_INFORMATION info;
        SIZE_T got = 0;
        for (std::uint64_t i = 0; i < operations; ++i) {
            n = n + 1 >= at.size() ? 0 : n + 1;
            h.memory->VirtualQuery(at[n], &info, sizeof info, &got);
            use(info);
        }
    }
    void query(std::uint64_t operations) { query(operations, next); }
    // Each operation is one call that changes something.
    void protect(std::uint64_t operations) {
        DWORD old = 0;
        for (std::uint64_t i = 0; i + 1 < operations; i += 2) {
            next = next + 1 == at.size() ? 0 : next + 1;
            h.memory->VirtualProtect(at[next], small, readonly, &old);
            h.memory->VirtualProtect(at[next], small, readwrite, &old);
        }
    }
    void protect_same(std::uint64_t operations) {
        DWORD old = 0;
        for (std::uint64_t i = 0; i < operations; ++i) {
            next = next + 1 == at.size() ? 0 : next + 1;
            h.memory->VirtualProtect(at[next], small, readwrite, &old);
        }
    }
    host h;
    std::vector<void*> at;
    std::size_t next = 0;
};

// The same shape without memreeve: one readable and writable area of N x 64 KiB.
struct raw_population {
    explicit raw_population(unsigned n) : bytes(n * small) {
        base = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        must(base != MAP_FAILED, "mmap");
        for (unsigned i = 0; i < n; ++i) {
            at.push_back(base + i * small);
        }
        std::shuffle(at.begin(), at.end(), std::mt19937(n));
    }
    raw_population(const raw_population&) = delete;
    raw_population& operator=(const raw_population&) = delete;
    ~raw_population() { munmap(base, bytes); }
    void protect(std::uint64_t operations) {
        for (std::uint64_t i = 0; i + 1 < operations; i += 2) {
            next = next + 1 == at.size() ? 0 : next + 1;
            mprotect(at[next], small, PROT_READ);
            mprotect(at[next], small, PROT_READ | PROT_WRITE);
        }
    }
    std::uint64_t bytes;
    char* base = nullptr;
    std::vector<char*> at;
    std::size_t next = 0;
};

// One reservation of 1 TiB in which committed runs of one page to 64 MiB lie at random, a quarter of
// them read-only and a quarter behind guards; asked about at random, one time in two inside a run.
struct mixed_terabyte {
    static constexpr std::uint64_t size = std::uint64_t{1} << 40;

    explicit mixed_terabyte(unsigned runs) {
        auto* const base = static_cast<char*>(h.alloc(nullptr, size, reserve));
        must(base != nullptr, "reserving 1 TiB");
        std::mt19937_64 random(7);
        const auto anywhere = [&] { return random() % (size / page) * page; };
        for (unsigned i = 0; i < runs; ++i) {
            const double doublings = std::uniform_real_distribution<double>(0, 14)(random);
            const auto pages = static_cast<std::uint64_t>(std::exp2(doublings));
            std::uint64_t from = anywhere();
            from = std::min(from, size - pages * page);
            const DWORD protect = i % 4 == 0 ? readonly : i % 4 == 1 ? guarded : readwrite;
            must(h.alloc(base + from, pages * page, commit, protect) != nullptr, "committing");
            at.push_back(base + from + random() % pages * page);
            at.push_back(base + anywhere());
        }
        std::shuffle(at.begin(), at.end(), random);
    }
    void query(std::uint64_t operations) {
        MEMORY_BASIC_INFORMATION info;
        SIZE_T got = 0;
        for (std::uint64_t i = 0; i < operations; ++i) {
            next = next + 1 == at.size() ? 0 : next + 1;
            h.memory->VirtualQuery(at[next], &info, sizeof info, &got);
            use(info);
        }
    }
    host h;
    std::vector<void*> at;
    std::size_t next = 0;
};

} // namespace memreeve::bench
