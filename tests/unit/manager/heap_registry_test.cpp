// SPDX-License-Identifier: MIT
// What heaps keep although no block lies there goes back when somebody else needs it: asked for, before
// a refusal, at Low; and a heap that ends while others make it give back.
#include "support/test_host.hpp"

#include <cstring>
#include <thread>

namespace memreeve::test {
namespace {

class heap_registry_test : public host_test {
protected:
    void SetUp() override { open(options_for(64 * mib, 8 * mib)); }
    com_ptr<IHostMalloc> make_heap() {
        com_ptr<IHostMalloc> heap;
        EXPECT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
        return heap;
    }
    static void use(IHostMalloc* heap) {
        std::vector<void*> blocks;
        for (SIZE_T size = 16; size <= 32768; size += size / 2) {
            for (int i = 0; i < 8; ++i) {
                void* p = nullptr;
                ASSERT_EQ(heap->Alloc(size, eTaskCritical, &p), S_OK);
                std::memset(p, 1, size);
                blocks.push_back(p);
            }
        }
        for (void* p : blocks) {
            ASSERT_EQ(heap->Free(p), S_OK);
        }
    }
    // By a thread that is no more, so that its cache is nobody's.
    static void use_and_end(IHostMalloc* heap) {
        std::thread([heap] { use(heap); }).join();
    }
};

TEST_F(heap_registry_test, all_heaps_give_back_what_they_keep) {
    const auto one = make_heap();
    const auto other = make_heap();
    const std::uint64_t empty = figures().heap_bytes;
    use_and_end(one.get());
    use_and_end(other.get());
    const std::uint64_t kept = figures().heap_bytes;
    ASSERT_GT(kept, empty + mib) << "or there is nothing to give back";
    EXPECT_EQ(snapshot().given_back_bytes, 0u);
    std::uint64_t given = 0;
    ASSERT_EQ(mrv_host_trim(host, &given), MRV_OK);
    EXPECT_EQ(snapshot().given_back_bytes, given);
    EXPECT_GE(given, kept - figures().heap_bytes);
    EXPECT_LT(figures().heap_bytes, empty + (kept - empty) / 4);
    EXPECT_EQ(mrv_host_trim(host, nullptr), MRV_OK);
    EXPECT_EQ(mrv_host_trim(nullptr, nullptr), MRV_E_NULL_POINTER);
}

TEST_F(heap_registry_test, a_request_is_not_refused_while_a_heap_keeps_what_it_does_not_use) {
    const auto heap = make_heap();
    use_and_end(heap.get());
    ASSERT_EQ(mrv_host_trim(host, nullptr), MRV_OK);
    const std::uint64_t least = snapshot().charged_bytes;
    use_and_end(heap.get());
    const std::uint64_t kept = snapshot().charged_bytes;
    ASSERT_GT(kept, least + mib / 2);
    const std::uint64_t all = (56 * mib - least) / (64 * 1024) * (64 * 1024) - 128 * 1024;
    void* p = nullptr;
    ASSERT_GT(all, 56 * mib - kept) << "it does not fit beside what is kept";
    EXPECT_EQ(alloc(all, eTaskCritical, &p), S_OK);
    EXPECT_GT(snapshot().given_back_bytes, mib / 2);
    EXPECT_EQ(figures().refusals[0], 0u);
    EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
}

TEST_F(heap_registry_test, at_low_before_it_is_told) {
    const auto heap = make_heap();
    std::uint64_t given_when_told = 0;
    recording_callback callback;
    callback.inside = [&](EMemoryAvailable level) {
        if (level == eMemoryAvailableLow) {
            given_when_told = snapshot().given_back_bytes;
        }
    };
    void* middle = nullptr; // 71 %: not on the way to High, however late the rest comes
    ASSERT_EQ(alloc(40 * mib, eTaskCritical, &middle), S_OK);
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    use_and_end(heap.get());
    void* p = nullptr;
    ASSERT_EQ(alloc(12 * mib, eTaskCritical, &p), S_OK);
    ASSERT_TRUE(callback.wait_for(1));
    EXPECT_EQ(callback.told().front(), eMemoryAvailableLow);
    EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
    EXPECT_GT(given_when_told, mib / 2);
    EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(memory->VirtualFree(middle, 0, MEM_RELEASE), S_OK);
}

TEST_F(heap_registry_test, heaps_come_and_go_while_all_give_back) {
    std::atomic<bool> ends{false};
    std::vector<std::thread> users;
    std::vector<std::thread> others;
    for (int t = 0; t < 3; ++t) {
        users.emplace_back([this] {
            for (int i = 0; i < 60; ++i) {
                const auto heap = make_heap();
                use(heap.get());
            }
        });
    }
    for (int t = 0; t < 2; ++t) {
        others.emplace_back([&] {
            while (!ends) {
                static_cast<void>(mrv_host_trim(host, nullptr));
            }
        });
    }
    for (std::thread& t : users) {
        t.join();
    }
    ends = true;
    for (std::thread& t : others) {
        t.join();
    }
    EXPECT_EQ(mrv_host_trim(host, nullptr), MRV_OK);
    EXPECT_EQ(figures().heap_bytes, 0u) << "the last visitor destroys what was closed";
    EXPECT_EQ(snapshot().charged_bytes, 0u);
}

TEST_F(heap_registry_test, thousands_of_heaps) {
    close();
    open(options_for(256 * mib));
    std::vector<com_ptr<IHostMalloc>> heaps;
    for (int i = 0; i < 4100; ++i) {
        heaps.push_back(make_heap());
        ASSERT_TRUE(heaps.back()) << i;
    }
    void* p = nullptr;
    ASSERT_EQ(heaps.back()->Alloc(100, eTaskCritical, &p), S_OK);
    EXPECT_EQ(heaps.back()->Free(p), S_OK);
    EXPECT_EQ(mrv_host_trim(host, nullptr), MRV_OK);
    heaps.clear();
    EXPECT_EQ(mrv_host_trim(host, nullptr), MRV_OK);
    EXPECT_EQ(snapshot().charged_bytes, 0u);
}

} // namespace
} // namespace memreeve::test
