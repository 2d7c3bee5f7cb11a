// SPDX-License-Identifier: MIT
// Under AddressSanitizer a block of a host's heap that is used after it was freed is reported, where
// it happens, by the sanitizer (heap/poison.hpp).
#include "support/test_host.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUILT_WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define BUILT_WITH_ASAN 1
#endif

namespace memreeve::test {
namespace {

struct heap_poison : host_test {
    com_ptr<IHostMalloc> heap;

    void SetUp() override {
#if !defined(BUILT_WITH_ASAN)
        GTEST_SKIP() << "skipped: built without AddressSanitizer";
#endif
        GTEST_FLAG_SET(death_test_style, "threadsafe");
        open(options_for(64 * mib));
        ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
    }
    void TearDown() override {
        heap.reset();
        host_test::TearDown();
    }
    char* get(std::size_t size, bool debug = false) {
        void* block = nullptr;
        EXPECT_EQ(debug ? heap->DebugAlloc(size, eTaskCritical, const_cast<char*>("poison.cpp"), 1,
                                           &block)
                        : heap->Alloc(size, eTaskCritical, &block),
                  S_OK);
        std::memset(block, 1, size);
        return static_cast<char*>(block);
    }
};

constexpr std::size_t sizes[] = {1, 16, 100, 1000, 5000, 30000};

TEST_F(heap_poison, a_read_of_a_freed_block) {
    for (const std::size_t size : sizes) {
        for (const bool debug : {false, true}) {
            char* const keep = get(size, debug); // so that the slab stays
            char* const block = get(size, debug);
            EXPECT_DEATH(
                {
                    heap->Free(block);
                    volatile char c = block[size - 1];
                    (void)c;
                },
                "use-after-poison")
                << size;
            EXPECT_EQ(heap->Free(block), S_OK);
            EXPECT_EQ(heap->Free(keep), S_OK);
        }
    }
}

TEST_F(heap_poison, a_write_to_a_block_that_another_thread_freed) {
    char* const keep = get(300);
    char* const block = get(300);
    EXPECT_DEATH(
        {
            std::thread([&] { heap->Free(block); }).join();
            block[100] = 2;
        },
        "use-after-poison");
    EXPECT_EQ(heap->Free(block), S_OK);
    EXPECT_EQ(heap->Free(keep), S_OK);
}

// What is handed out again may be used, from end to end; so may pages that have gone back.
TEST_F(heap_poison, blocks_and_pages_that_come_back_are_open) {
    for (int round = 0; round < 3; ++round) {
        std::vector<char*> all;
        for (int i = 0; i < 2000; ++i) {
            all.push_back(get(sizes[static_cast<std::size_t>(i) % std::size(sizes)], i % 3 == 0));
        }
        for (char* const one : all) {
            EXPECT_EQ(heap->Free(one), S_OK);
        }
        void* pages = nullptr;
        ASSERT_EQ(alloc(20 * mib, eTaskCritical, &pages), S_OK); // what the heap gave back is in it
        std::memset(pages, 3, 20 * mib);
        EXPECT_EQ(memory->VirtualFree(pages, 0, MEM_RELEASE), S_OK);
    }
}

} // namespace
} // namespace memreeve::test
