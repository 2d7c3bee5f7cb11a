// SPDX-License-Identifier: MIT
// A thread stopped in a request to a heap at each of its machine instructions, one after the other, while
// somebody else uses the heap (support/stepping.hpp): a signal handler of the same thread or another
// thread. Afterwards the model of what is live, its contents and the books agree.
#include "com/host_malloc.hpp"
#include "manager/host.hpp"
#include "memreeve/host_interfaces.h"
#include "support/block_pattern.hpp"
#include "support/errand_thread.hpp"
#include "support/stepping.hpp"
#include "vm/win32.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace memreeve::test {
namespace {

#if !MEMREEVE_CAN_STEP
#define NEEDS_STEPS() GTEST_SKIP() << "skipped: needs x86-64's trap flag and no ThreadSanitizer"
#else
#define NEEDS_STEPS()
#endif

constexpr auto task = criticality::task;

// Of a request's instructions: every one in a long run, else so many of them, evenly spread.
std::uint64_t at_most(std::uint64_t n) {
    return std::getenv("MEMREEVE_LONG") != nullptr ? ~std::uint64_t{0} : n;
}

struct heap_steps : testing::Test {
    manager::host* host = nullptr;
    owner_id owner = owner_id::none;
    std::unique_ptr<com::host_memory_manager> com;
    IHostMalloc* heap = nullptr;
    manager::owner_heap* blocks = nullptr;

    void SetUp() override {
        manager::host::settings settings;
        settings.memory.watch_system = false;
        settings.memory.report = [](void*, const char*) {}; // of wrong frees that are wanted
        host = *manager::host::create(settings);
        owner = *host->open_owner(owner_id::none, "stepped", {});
        com = std::make_unique<com::host_memory_manager>(host->memory(), owner, &host->notices(),
                                                         &host->records());
        ASSERT_EQ(com->CreateMalloc(MALLOC_THREADSAFE, &heap), S_OK);
        blocks = &static_cast<com::host_malloc*>(heap)->blocks();
    }
    void TearDown() override {
        EXPECT_EQ(blocks->stats().live_blocks, 0u);
        blocks->trim();
        host->memory().drop_warm();
        host->books().tree().drain();
        EXPECT_EQ(host->books().tree().charged(owner), blocks->stats().pages_held);
        EXPECT_EQ(heap->Release(), 0u);
        host->memory().drop_warm();
        host->books().tree().drain();
        EXPECT_EQ(host->books().tree().charged(owner), 0u);
        com.reset();
        host->destroy();
    }
    address get(byte_count size, bool named = false) {
        const auto got = named ? blocks->allocate_debug(size, task, "steps.cpp", 7)
                               : blocks->allocate(size, task);
        return got ? *got : 0;
    }
};

// ---- two who free one block ---------------------------------------------------------------------------

// A thread is stopped while it frees a block; meanwhile another free takes the block away, its pages go,
// and what the heap knew it by stands for another block somewhere else. That one must not be freed.
struct kind {
    byte_count size;
    bool named;
    bool by_thread; // else a handler of the stopped thread
    bool any_way;   // free(), else what it does when the quick way does not
};
std::ostream& operator<<(std::ostream& out, const kind& k) {
    return out << k.size << (k.named ? " named" : "") << (k.by_thread ? " thread" : " handler")
               << (k.any_way ? " any way" : "");
}
struct freed_twice : heap_steps, testing::WithParamInterface<kind> {};

TEST_P(freed_twice, what_comes_after_it_stays) {
    NEEDS_STEPS();
    const auto [size, named, by_thread, any_way] = GetParam();
    const bool large = size > heap::largest_small;
    errand_thread other;
    address block = 0;
    address keeper = 0;
    address in_the_way = 0;
    address successor = 0;
    std::uint64_t elsewhere = 0;
    bool first = false;
    bool second = false;
    const byte_count next_size = large ? size + 20 * page_size : size;
    const std::function<void()> meanwhile = [&, size = size, named = named] {
        second = blocks->free(block).has_value();
        blocks->trim();
        host->memory().drop_warm();
        // What comes next finds the place taken, if the block's slab has gone; and nobody may read there.
        const auto taken = host->memory().virtual_alloc(
            owner, large ? 0 : round_down(block, granule_size), granule_size,
            vm::win32::mem_reserve, vm::win32::page_noaccess, task);
        in_the_way = taken ? *taken : 0;
        successor = get(next_size, named);
        write_pattern(successor, next_size, 77);
    };
    const std::uint64_t all = stepping::at_every_instruction(
        [&, size = size, named = named] {
            if (keeper != 0) { // the first time nothing came between, and nobody judged
                EXPECT_TRUE(blocks->free(keeper));
            }
            block = get(size, named);
            keeper = large ? get(9 * page_size) : 0;
            blocks->trim(); // no more blocks of its slab in this thread's cache
            successor = in_the_way = 0;
            first = second = false;
        },
        [&, any_way = any_way] {
            first = (any_way ? blocks->free(block) : blocks->free_otherwise(block)).has_value();
        },
        [&, by_thread = by_thread] { by_thread ? other.do_now(meanwhile) : meanwhile(); },
        [&](std::uint64_t n) {
            if (HasFatalFailure()) {
                return;
            }
            elsewhere += second && successor != block ? 1u : 0u;
            ASSERT_EQ(int{first} + int{second}, 1) << "at instruction " << n;
            ASSERT_GE(blocks->size_of(successor), next_size) << "at instruction " << n;
            ASSERT_TRUE(has_pattern(successor, next_size, 77, next_size)) << n;
            ASSERT_EQ(blocks->stats().live_blocks, 1u + (keeper != 0)) << n;
            for (address* a : {&successor, &keeper}) {
                ASSERT_TRUE(blocks->free(*a)) << "at instruction " << n;
                *a = 0;
            }
            if (in_the_way != 0) {
                ASSERT_TRUE(host->memory().virtual_free(in_the_way, 0, vm::win32::mem_release));
            }
            if (by_thread) {
                other.do_now([&] { blocks->trim(); });
            }
            blocks->trim();
        },
        at_most(100));
    EXPECT_GT(elsewhere, 10u) << "of " << all << ": the case itself";
}

constexpr byte_count some = 3000;
constexpr byte_count many = 40 * page_size;

// A free of a plain block on the quick way may succeed beside another one (docs/heap.md).
INSTANTIATE_TEST_SUITE_P(
    every_kind, freed_twice,
    testing::Values(kind{some, false, false, false}, kind{some, false, true, false},
                    kind{some, true, false, false}, kind{some, true, true, false},
                    kind{some, true, false, true}, kind{some, true, true, true},
                    kind{many, false, false, false}, kind{many, false, true, true},
                    kind{many, true, false, true}, kind{many, true, true, false}));

// ---- who explains ---------------------------------------------------------------------------------------

// A block of DebugAlloc is freed while a report on it reads its canaries, and its pages go: nothing is read
// that is gone, nothing is told that is not so, and the free is not refused.
struct explained : heap_steps, testing::WithParamInterface<kind> {};

TEST_P(explained, while_it_is_freed) {
    NEEDS_STEPS();
    const auto [size, named, by_thread, any_way] = GetParam();
    errand_thread other;
    address block = 0;
    heap::misuse told;
    bool freed = false;
    address next = 0;
    const std::function<void()> meanwhile = [&, any_way = any_way, size = size] {
        freed = blocks->free(block).has_value();
        blocks->trim();
        host->memory().drop_warm();
        next = any_way ? get(size - 9, true) : 0; // as a rule in the same place
    };
    std::uint64_t as_freed = 0;
    std::uint64_t as_live = 0;
    stepping::at_every_instruction(
        [&, size = size] {
            if (block != 0) {
                EXPECT_TRUE(blocks->free(block));
            }
            block = get(size, true);
            blocks->trim();
        },
        [&] { told = blocks->explain(block); },
        [&, by_thread = by_thread] { by_thread ? other.do_now(meanwhile) : meanwhile(); },
        [&](std::uint64_t n) {
            if (HasFatalFailure()) {
                return;
            }
            ASSERT_TRUE(freed) << "a rightful free, at instruction " << n;
            ASSERT_NE(told.kind, heap::misuse_kind::written_before) << "at instruction " << n;
            ASSERT_NE(told.kind, heap::misuse_kind::written_behind) << "at instruction " << n;
            as_live += told.kind == heap::misuse_kind::none ? 1u : 0u;
            as_freed += told.kind != heap::misuse_kind::none ? 1u : 0u;
            ASSERT_EQ(blocks->stats().live_blocks, next != 0 ? 1u : 0u) << n;
            ASSERT_TRUE(blocks->free(next)) << n;
            block = next = 0;
            if (by_thread) {
                other.do_now([&] { blocks->trim(); });
            }
            blocks->trim();
        },
        at_most(100));
    EXPECT_GT(as_freed, 10u);
    EXPECT_GT(as_live, 0u);
}

INSTANTIATE_TEST_SUITE_P(every_kind, explained,
                         testing::Values(kind{some, true, false, false},
                                         kind{some, true, true, true},
                                         kind{many, true, false, false},
                                         kind{many, true, true, true}));

// ---- who trims ------------------------------------------------------------------------------------------

void wait_until_gone(long thread) {
    while (syscall(SYS_tgkill, getpid(), thread, 0) == 0) {
        sched_yield();
    }
}

// A thread that has no cache yet trims, and takes over for a while the cache of a thread that has ended,
// with the same thread pointer: its handler must not take that for its own, or two threads have it soon.
TEST_F(heap_steps, a_handler_during_trim_shares_no_cache) {
    NEEDS_STEPS();
    const auto at = [&](std::uint64_t n) {
        IHostMalloc* own_heap = nullptr; // whose only cache is the one that is left
        EXPECT_EQ(com->CreateMalloc(MALLOC_THREADSAFE, &own_heap), S_OK);
        blocks = &static_cast<com::host_malloc*>(own_heap)->blocks();
        std::uint64_t steps = 0;
        void* ended = nullptr;
        long number = 0;
        std::thread([&] {
            ended = __builtin_thread_pointer();
            number = syscall(SYS_gettid);
            EXPECT_TRUE(blocks->free(get(64)));
        }).join();
        wait_until_gone(number);
        std::thread([&] {
            number = syscall(SYS_gettid);
            EXPECT_EQ(__builtin_thread_pointer(), ended);
            steps = stepping::once([&] { blocks->trim(); },
                                   [&] { EXPECT_TRUE(blocks->free(get(64))) << n; }, n);
            // Last in, first out, and nobody else has it: who shares this thread's cache gets this block.
            const address own = get(64);
            EXPECT_TRUE(blocks->free(own));
            std::thread([&] {
                const address got = get(64);
                EXPECT_NE(got, own) << "of another thread's cache, at instruction " << n;
                EXPECT_TRUE(blocks->free(got));
            }).join();
        }).join();
        EXPECT_EQ(blocks->stats().live_blocks, 0u) << "at instruction " << n;
        EXPECT_EQ(own_heap->Release(), 0u);
        return steps;
    };
    const std::uint64_t all = at(~std::uint64_t{0});
    for (std::uint64_t n = 1; n <= all && !HasFailure(); n += all / at_most(60) + 1) {
        at(n);
    }
    EXPECT_GT(all, 1000u);
    blocks = &static_cast<com::host_malloc*>(heap)->blocks();
}

} // namespace
} // namespace memreeve::test
