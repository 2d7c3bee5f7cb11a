// SPDX-License-Identifier: MIT
// IHostMalloc (hosting-api 1.4; D4-D8, D20, D33; decision 10).
#include "com/host_malloc.hpp"

#include "support/test_host.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>

namespace memreeve::test {
namespace {

std::size_t count_of_mappings() {
    std::ifstream in("/proc/self/maps");
    std::string line;
    std::size_t n = 0;
    while (std::getline(in, line)) {
        ++n;
    }
    return n;
}

class host_malloc_test : public host_test {
protected:
    void SetUp() override {
        open(options_for(64 * mib, 8 * mib));
        ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
    }
    void TearDown() override {
        heap.reset();
        EXPECT_EQ(snapshot().charged_bytes, 0u) << "the last Release gives every page back";
        close();
    }
    void* get(std::size_t size) {
        void* p = nullptr;
        EXPECT_EQ(heap->Alloc(size, eTaskCritical, &p), S_OK) << size;
        return p;
    }
    com_ptr<IHostMalloc> heap;
};

TEST_F(host_malloc_test, D5_D6_blocks_are_unique_and_aligned) {
    std::set<void*> seen;
    for (std::size_t size : {0u, 0u, 1u, 15u, 16u, 17u, 1000u, 4096u, 65536u, 1u << 20}) {
        void* p = get(size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 16, 0u);
        EXPECT_TRUE(seen.insert(p).second);
        std::memset(p, 0xab, size);
    }
    for (void* p : seen) {
        EXPECT_EQ(heap->Free(p), S_OK);
    }
}

TEST_F(host_malloc_test, D4_free_of_null_is_S_OK) { EXPECT_EQ(heap->Free(nullptr), S_OK); }

TEST_F(host_malloc_test, D8_foreign_interior_and_second_free_change_nothing) {
    auto* const p = static_cast<char*>(get(100));
    auto* const large = static_cast<char*>(get(300000));
    std::memset(p, 1, 100);
    int here = 0;
    void* ours_but_no_block = nullptr;
    ASSERT_EQ(alloc(page, eTaskCritical, &ours_but_no_block), S_OK);
    com_ptr<IHostMalloc> other;
    ASSERT_EQ(memory->CreateMalloc(0, other.out()), S_OK);
    void* of_other = nullptr;
    ASSERT_EQ(other->Alloc(100, eTaskCritical, &of_other), S_OK);
    const std::uint64_t before = snapshot().charged_bytes;
    for (void* wrong :
         {static_cast<void*>(&here), static_cast<void*>(p + 1), static_cast<void*>(p + 16),
          static_cast<void*>(large + page), ours_but_no_block, of_other,
          reinterpret_cast<void*>(0x10), reinterpret_cast<void*>(~std::uintptr_t{0})}) {
        EXPECT_EQ(heap->Free(wrong), HOST_E_INVALIDOPERATION) << wrong;
    }
    EXPECT_EQ(snapshot().charged_bytes, before);
    EXPECT_EQ(p[99], 1);
    EXPECT_EQ(heap->Free(p), S_OK);
    EXPECT_EQ(heap->Free(p), HOST_E_INVALIDOPERATION);
    EXPECT_EQ(heap->Free(large), S_OK);
    EXPECT_EQ(heap->Free(large), HOST_E_INVALIDOPERATION);
    EXPECT_EQ(other->Free(of_other), S_OK);
    EXPECT_EQ(memory->VirtualFree(ours_but_no_block, 0, MEM_RELEASE), S_OK);
}

TEST_F(host_malloc_test, sizes_that_cannot_exist_are_E_OUTOFMEMORY_with_a_null_pointer) {
    for (const std::size_t size :
         {~std::size_t{0}, ~std::size_t{0} - 15, std::size_t{1} << 63, std::size_t{1} << 47}) {
        void* p = &p;
        EXPECT_EQ(heap->Alloc(size, eProcessCritical, &p), E_OUTOFMEMORY);
        EXPECT_EQ(p, nullptr);
        p = &p;
        EXPECT_EQ(heap->DebugAlloc(size, eProcessCritical, nullptr, 0, &p), E_OUTOFMEMORY);
        EXPECT_EQ(p, nullptr);
    }
}

TEST_F(host_malloc_test, D2_D14_pointers_and_levels) {
    char name[] = "x.cpp";
    EXPECT_EQ(heap->Alloc(1, eTaskCritical, nullptr), E_POINTER);
    EXPECT_EQ(heap->DebugAlloc(1, eTaskCritical, name, 1, nullptr), E_POINTER);
    void* p = &p;
    EXPECT_EQ(heap->Alloc(1, static_cast<EMemoryCriticalLevel>(3), &p), E_INVALIDARG);
    EXPECT_EQ(p, nullptr);
    p = &p;
    EXPECT_EQ(heap->DebugAlloc(1, static_cast<EMemoryCriticalLevel>(-1), name, 1, &p),
              E_INVALIDARG);
    EXPECT_EQ(p, nullptr);
}

TEST_F(host_malloc_test, D33_debug_alloc_keeps_file_and_line_and_copies_the_name) {
    auto* const object = static_cast<com::host_malloc*>(heap.get());
    char name[32] = "src/vm/jit.cpp";
    void* p = nullptr;
    void* q = nullptr;
    ASSERT_EQ(heap->DebugAlloc(100, eTaskCritical, name, 42, &p), S_OK);
    std::strcpy(name, "overwritten"); // names may be transient
    ASSERT_EQ(heap->DebugAlloc(100, eTaskCritical, nullptr, -7, &q), S_OK);
    const char* file = nullptr;
    int line = 0;
    ASSERT_TRUE(object->origin_of(p, &file, &line));
    EXPECT_STREQ(file, "src/vm/jit.cpp");
    EXPECT_EQ(line, 42);
    EXPECT_TRUE(object->origin_of(q, &file, &line)) << "a null name and any line are tolerated";
    EXPECT_EQ(line, -7);
    void* plain = get(100);
    EXPECT_FALSE(object->origin_of(plain, &file, &line));
    for (void* block : {p, q, plain}) {
        EXPECT_EQ(heap->Free(block), S_OK) << "D8: the same Free";
    }
    EXPECT_FALSE(object->origin_of(p, &file, &line));
}

TEST_F(host_malloc_test, decision_10_executable_blocks) {
    com_ptr<IHostMalloc> executable;
    ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE | MALLOC_EXECUTABLE, executable.out()), S_OK);
    void* p = nullptr;
    ASSERT_EQ(executable->Alloc(64, eTaskCritical, &p), S_OK);
    *static_cast<unsigned char*>(p) = 0xc3; // ret
    reinterpret_cast<void (*)()>(p)();
    MEMORY_BASIC_INFORMATION m;
    SIZE_T length = 0;
    ASSERT_EQ(memory->VirtualQuery(p, &m, sizeof m, &length), S_OK);
    EXPECT_EQ(m.Protect, DWORD{PAGE_EXECUTE_READWRITE});
    EXPECT_EQ(executable->Free(p), S_OK);
}

TEST(host_malloc_policy, decision_10_refused_where_write_and_execute_is_forbidden) {
    mrv_host_options o{};
    o.size = sizeof o;
    o.flags = MRV_HOST_FORBID_WRITE_EXECUTE;
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    com_ptr<IHostMemoryManager> memory;
    ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(owner, memory.out()), MRV_OK);
    IHostMalloc* heap = nullptr;
    const HRESULT created = memory->CreateMalloc(MALLOC_EXECUTABLE, &heap);
    if (created == S_OK) { // then the first block is refused
        void* p = nullptr;
        EXPECT_EQ(heap->Alloc(8, eProcessCritical, &p), E_OUTOFMEMORY);
        heap->Release();
    } else {
        EXPECT_EQ(created, E_OUTOFMEMORY);
        EXPECT_EQ(heap, nullptr);
    }
    void* p = nullptr;
    EXPECT_EQ(memory->VirtualAlloc(nullptr, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE,
                                   eTaskCritical, &p),
              E_OUTOFMEMORY);
    EXPECT_EQ(memory->VirtualAlloc(nullptr, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                   eTaskCritical, &p),
              S_OK);
    memory.reset();
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
}

TEST_F(host_malloc_test, D20_flags_0_is_still_safe_from_several_threads) {
    com_ptr<IHostMalloc> single;
    ASSERT_EQ(memory->CreateMalloc(0, single.out()), S_OK);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(t);
            std::vector<std::pair<unsigned char*, std::size_t>> mine;
            for (int i = 0; i < 5000; ++i) {
                if (mine.size() < 50 && random() % 2 == 0) {
                    const std::size_t size = random() % 600;
                    void* p = nullptr;
                    ASSERT_EQ(single->Alloc(size, eTaskCritical, &p), S_OK);
                    std::memset(p, static_cast<int>(t), size);
                    mine.emplace_back(static_cast<unsigned char*>(p), size);
                } else if (!mine.empty()) {
                    const auto [p, size] = mine.back();
                    for (std::size_t k = 0; k < size; ++k) {
                        ASSERT_EQ(p[k], t);
                    }
                    ASSERT_EQ(single->Free(p), S_OK);
                    mine.pop_back();
                }
            }
            for (const auto& [p, size] : mine) {
                ASSERT_EQ(single->Free(p), S_OK);
            }
        });
    }
    for (auto& t : threads) {
        t.join();
    }
}

// realloc's large blocks: the books follow every step, growth is charged by the difference alone, and
// contents that move page by page arrive.
TEST_F(host_malloc_test, large_blocks_grow_and_shrink_with_exact_books) {
    manager::owner_heap& blocks = static_cast<com::host_malloc*>(heap.get())->blocks();
    const auto charged = [&] { return snapshot().charged_bytes; };
    ASSERT_TRUE(blocks.free(*blocks.allocate(mib, criticality::task))); // records and a cache
    blocks.trim();
    const std::uint64_t empty = charged();
    const auto first = blocks.allocate(10 * mib, criticality::task);
    ASSERT_TRUE(first);
    auto* bytes = reinterpret_cast<unsigned char*>(*first);
    address a = *first;
    std::size_t size = 10 * mib;
    for (std::size_t i = 0; i < size; i += page) {
        bytes[i] = static_cast<unsigned char>(i / page * 3);
    }
    const auto is_intact = [&] {
        for (std::size_t i = 0; i < std::min(size, std::size_t{10 * mib}); i += page) {
            if (reinterpret_cast<unsigned char*>(a)[i] !=
                static_cast<unsigned char>(i / page * 3)) {
                return false;
            }
        }
        return true;
    };
    // 64 MiB are the limit, 8 of them in reserve: 50 fit, 10 and 50 at once do not.
    for (const std::size_t next :
         {12 * mib, 20 * mib, 33 * mib, 50 * mib, 49 * mib, 11 * mib, 50 * mib, 10 * mib + page}) {
        const std::size_t before = size;
        const auto moved = blocks.resize(a, next, criticality::task);
        ASSERT_TRUE(moved) << before / mib << " to " << next / mib;
        a = *moved;
        size = next;
        EXPECT_EQ(charged(), empty + next) << before / mib << " to " << next / mib;
        EXPECT_EQ(snapshot().heap_bytes, blocks.stats().pages_held * page);
        ASSERT_TRUE(is_intact()) << before / mib << " to " << next / mib;
        if (next > before) {
            const auto* const fresh = reinterpret_cast<unsigned char*>(a) + before;
            for (std::size_t i = 0; i < next - before; i += page) {
                ASSERT_EQ(fresh[i], 0);
            }
        }
    }
    EXPECT_EQ(blocks.resize(a, 60 * mib, criticality::task).error().code, errc::over_budget);
    EXPECT_EQ(charged(), empty + size);
    EXPECT_TRUE(is_intact());
    EXPECT_TRUE(blocks.free(a));
    EXPECT_EQ(charged(), empty);
    // Again and again: what is moved in and out leaves nothing behind, not even mappings.
    for (int i = 0; i < 300; ++i) {
        const auto b = blocks.allocate(mib, criticality::task);
        ASSERT_TRUE(b);
        std::memset(reinterpret_cast<void*>(*b), 1, mib);
        const auto c = blocks.resize(*b, 2 * mib, criticality::task);
        ASSERT_TRUE(c);
        const auto d = blocks.resize(*c, 20 * mib, criticality::task);
        ASSERT_TRUE(d);
        ASSERT_NE(*d, *b);
        ASSERT_EQ(reinterpret_cast<unsigned char*>(*d)[mib - 1], 1);
        ASSERT_TRUE(blocks.free(*d));
    }
    blocks.trim();
    EXPECT_EQ(charged(), empty);
    EXPECT_LT(count_of_mappings(), 1000u);
}

TEST_F(host_malloc_test, far_aligned_blocks_are_charged_by_their_pages) {
    manager::owner_heap& blocks = static_cast<com::host_malloc*>(heap.get())->blocks();
    ASSERT_TRUE(blocks.free(*blocks.allocate(mib, criticality::task))); // records and a cache
    blocks.trim();
    const std::uint64_t empty = snapshot().charged_bytes;
#ifdef __SANITIZE_THREAD__
    constexpr unsigned highest = 36; // the sanitizer leaves two TiB of addresses
#else
    constexpr unsigned highest = 40;
#endif
    for (unsigned power = 12; power <= highest; ++power) {
        const address alignment = address{1} << power;
        const auto a = blocks.allocate_aligned(100000, alignment, criticality::task);
        ASSERT_TRUE(a) << power;
        EXPECT_EQ(*a % alignment, 0u);
        std::memset(reinterpret_cast<void*>(*a), 1, 100000);
        EXPECT_LE(snapshot().charged_bytes, empty + 25 * page + (power <= 16 ? 0 : page));
        EXPECT_EQ(snapshot().heap_bytes, blocks.stats().pages_held * page);
        EXPECT_TRUE(blocks.owns(*a));
        ASSERT_TRUE(blocks.free(*a));
        EXPECT_FALSE(blocks.free(*a));
        blocks.trim();
    }
    EXPECT_EQ(snapshot().charged_bytes, empty);
}

// Freed large blocks stay at hand, charged, in a small bound, and make way before anything is refused.
TEST_F(host_malloc_test, freed_large_blocks_are_kept_warm_until_they_are_in_the_way) {
    manager::owner_heap& blocks = static_cast<com::host_malloc*>(heap.get())->blocks();
    const auto get_block = [&](std::size_t size) {
        const auto got = blocks.allocate(size, criticality::task);
        EXPECT_TRUE(got) << size;
        return got ? *got : 0;
    };
    ASSERT_TRUE(blocks.free(get_block(100)));
    std::vector<address> many;
    for (int i = 0; i < 20; ++i) { // whose records stay
        many.push_back(get_block(400000));
    }
    for (const address one : many) {
        ASSERT_TRUE(blocks.free(one));
    }
    many.clear();
    blocks.trim();
    const std::uint64_t empty = snapshot().charged_bytes;
    const std::uint64_t reserved = snapshot().reserved_bytes;
    const address a = get_block(500000);
    std::memset(reinterpret_cast<void*>(a), 0x55, 500000);
    ASSERT_TRUE(blocks.free(a));
    EXPECT_EQ(snapshot().charged_bytes, empty + round_up(500000, page));
    EXPECT_EQ(blocks.stats().live_blocks, 0u);
    EXPECT_FALSE(blocks.free(a));
    EXPECT_EQ(blocks.size_of(a), 0u);
    EXPECT_EQ(memory->VirtualFree(reinterpret_cast<void*>(a), 0, MEM_RELEASE),
              HOST_E_INVALIDOPERATION)
        << "a heap's page, whatever lies in it";
    // The next of about that size gets it; a zeroed one does not get what was written.
    EXPECT_EQ(get_block(480000), a);
    EXPECT_GE(blocks.size_of(a), 480000u);
    ASSERT_TRUE(blocks.free(a));
    const auto zeroed = blocks.allocate_zeroed(500000, criticality::task);
    ASSERT_TRUE(zeroed);
    for (std::size_t i = 0; i < 500000; i += 64) {
        ASSERT_EQ(reinterpret_cast<unsigned char*>(*zeroed)[i], 0) << i;
    }
    ASSERT_TRUE(blocks.free(*zeroed));
    // Smaller ones share it, and nothing more is charged for them.
    const address small = get_block(100000);
    const address other = get_block(300000);
    EXPECT_LT(small - a, 500000u);
    EXPECT_LT(other - a, 500000u);
    EXPECT_EQ(snapshot().charged_bytes, empty + round_up(500000, page));
    ASSERT_TRUE(blocks.free(small));
    ASSERT_TRUE(blocks.free(other));
    // The bound: a 64th of the limit of 64 MiB.
    for (int i = 0; i < 20; ++i) {
        many.push_back(get_block(400000));
    }
    for (const address one : many) {
        ASSERT_TRUE(blocks.free(one));
    }
    EXPECT_LE(snapshot().charged_bytes, empty + mib);
    EXPECT_GT(snapshot().charged_bytes, empty);
    // Nothing is refused because of them: 56 MiB may be charged at this level.
    void* all = nullptr;
    ASSERT_EQ(alloc(56 * mib - empty, eTaskCritical, &all), S_OK);
    EXPECT_EQ(snapshot().charged_bytes, 56 * mib);
    EXPECT_EQ(memory->VirtualFree(all, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(snapshot().charged_bytes, empty);
    EXPECT_EQ(snapshot().reserved_bytes, reserved);
}

TEST_F(host_malloc_test, many_heaps_made_and_released_leave_nothing) {
    const std::uint64_t before = snapshot().reserved_bytes;
    for (int i = 0; i < 500; ++i) {
        com_ptr<IHostMalloc> h;
        ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, h.out()), S_OK);
        void* p = nullptr;
        ASSERT_EQ(h->Alloc(100, eTaskCritical, &p), S_OK);
    }
    EXPECT_EQ(snapshot().reserved_bytes, before);
}

} // namespace
} // namespace memreeve::test
