// SPDX-License-Identifier: MIT
// A1: a million linear overflows of 1 to 4096 bytes from random blocks of a heap, and no byte of what the
// heap writes down for itself differs. Afterwards every block is freed and the books agree.
#include "com/host_malloc.hpp"
#include "support/guarded_access.hpp"
#include "support/test_host.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace memreeve {
namespace {

using test::com_ptr;
namespace touching = test::touching;

// True when all of it was written; else the fault is in the trap.
bool fill(address where, byte_count n, unsigned char value) {
    touching::trap& t = touching::the_trap;
    if (sigsetjmp(t.back, touching::saves_mask) != 0) {
        return false;
    }
    t.armed = 1;
    asm volatile("rep stosb" : "+c"(n), "+D"(where) : "a"(value) : "memory");
    t.armed = 0;
    return true;
}

struct overflow_test : test::host_test {
    void SetUp() override {
        touching::install();
        open(options_for(0));
        ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
        core = &static_cast<com::host_memory_manager*>(memory.get())->memory();
    }
    void TearDown() override {
        heap.reset();
        close();
    }
    bool is_ours(address where) {
        return core->space().find(where).index != 0 || !core->space().arena_at(where).is_empty();
    }
    bool is_record(address where) {
        const vm::found f = core->space().find(where);
        return f.index != 0 && static_cast<std::uint32_t>(f.tag) == ~0u;
    }
    // Committed pages that hold records, from the kernel's list of what can be written.
    std::vector<range> records() {
        std::vector<range> found;
        std::FILE* maps = std::fopen("/proc/self/maps", "r");
        char line[512];
        while (std::fgets(line, sizeof line, maps) != nullptr) {
            unsigned long begin = 0;
            unsigned long end = 0;
            char access[8] = "";
            if (std::sscanf(line, "%lx-%lx %7s", &begin, &end, access) != 3 || access[1] != 'w' ||
                end - begin > (1u << 30)) { // a sanitizer's own
                continue;
            }
            for (address a = begin; a < end; a += page_size) {
                const vm::found f = core->space().find(a);
                if (is_record(a) && f.code == vm::page_code::rw) {
                    found.push_back({a, a + page_size});
                }
            }
        }
        std::fclose(maps);
        return found;
    }
    static std::uint64_t hash(const std::vector<range>& pages) {
        std::uint64_t h = 14695981039346656037u;
        for (const range& r : pages) {
            for (address a = r.begin; a != r.end; a += sizeof(std::uint64_t)) {
                h = (h ^ *reinterpret_cast<const std::uint64_t*>(a)) * 1099511628211u;
                h ^= h >> 29;
            }
        }
        return h;
    }

    com_ptr<IHostMalloc> heap;
    manager::manager* core = nullptr;
};

TEST_F(overflow_test, A1_a_million_linear_overflows_change_no_record) {
    const char* given = std::getenv("MEMREEVE_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    struct block {
        address where;
        byte_count size;
    };
    std::vector<block> blocks;
    auto* const object = static_cast<com::host_malloc*>(heap.get());
    for (unsigned i = 0; i < 30000; ++i) {
        const byte_count size = random() % 200 == 0 ? 33000 + random() % 60000
                                : random() % 8 == 0 ? random() % 30000
                                                    : random() % 400;
        void* p = nullptr;
        const std::string file = "file" + std::to_string(i) + ".c"; // records grow among the blocks
        ASSERT_EQ(i % 3 == 0 ? heap->DebugAlloc(size, eTaskCritical,
                                                const_cast<char*>(file.c_str()), 1, &p)
                             : heap->Alloc(size, eTaskCritical, &p),
                  S_OK);
        if (i % 3 != 0) {
            blocks.push_back({reinterpret_cast<address>(p),
                              object->blocks().size_of(reinterpret_cast<address>(p))});
        }
    }
    const std::vector<range> kept = records();
    ASSERT_GT(kept.size(), 50u);
    const std::uint64_t before = hash(kept);

    // Whatever lies beside records, who comes from there linearly meets their guard first.
    unsigned edges = 0;
    for (const range& r : kept) {
        for (const address beside : {r.begin - 1, r.end}) {
            if (core->space().find(beside).code != vm::page_code::rw) {
                EXPECT_TRUE(is_record(beside)) << "no guard of these records";
                EXPECT_FALSE(fill(beside, 1, 0));
                ++edges;
            } else {
                EXPECT_TRUE(is_record(beside)) << "a neighbour without a guard between";
            }
        }
    }
    EXPECT_GT(edges, 10u);

    unsigned at_records = 0; // met such a guard
    unsigned stopped = 0;
    for (unsigned i = 0; i < 1000000; ++i) {
        const block& b = blocks[random() % blocks.size()];
        const byte_count n = 1 + random() % 4096;
        const address end = b.where + b.size;
        if (!is_ours(end) || !is_ours(end + n)) {
            continue; // where the arena ends other memory of this program may lie
        }
        if (!fill(end, n, static_cast<unsigned char>(random()))) {
            ++stopped;
            at_records += is_record(touching::the_trap.seen.address);
        }
        if (i % 100000 == 0) {
            ASSERT_EQ(hash(kept), before) << "after " << i;
        }
    }
    EXPECT_EQ(hash(kept), before);
    std::printf("%zu pages of records; %u overflows were stopped, %u of them at records\n",
                kept.size(), stopped, at_records);

    // The hash would see one bit.
    auto* const word = reinterpret_cast<std::uint64_t*>(kept.back().end - 8);
    *word ^= 1;
    EXPECT_NE(hash(kept), before);
    *word ^= 1;

    for (const block& b : blocks) {
        ASSERT_EQ(heap->Free(reinterpret_cast<void*>(b.where)), S_OK);
    }
    EXPECT_EQ(object->blocks().stats().live_blocks, 10000u) << "those of DebugAlloc";
}

} // namespace
} // namespace memreeve
