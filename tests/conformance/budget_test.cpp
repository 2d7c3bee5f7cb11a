// SPDX-License-Identifier: MIT
// Decisions 1 to 3 through the interface a runtime has: where each critical level stops, that a
// refusal changes nothing, that what is held can always be given back, guarantees, limits changed
// while running.
#include "support/test_host.hpp"

#include <cstring>
#include <thread>

namespace memreeve::test {
namespace {

class budget_test : public host_test {
protected:
    // Whole megabytes granted at this level until the first refusal.
    unsigned fill(EMemoryCriticalLevel level, IHostMemoryManager* from = nullptr) {
        IHostMemoryManager* const m = from != nullptr ? from : memory.get();
        unsigned granted = 0;
        void* p = nullptr;
        while (m->VirtualAlloc(nullptr, mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, level, &p) ==
               S_OK) {
            *static_cast<char*>(p) = 1;
            held.push_back(p);
            ++granted;
        }
        return granted;
    }
    void give_back(std::size_t count) {
        while (count-- != 0) {
            ASSERT_EQ(memory->VirtualFree(held.back(), 0, MEM_RELEASE), S_OK);
            held.pop_back();
        }
    }
    mrv_owner* sibling(std::uint64_t guaranteed, com_ptr<IHostMemoryManager>& out) {
        mrv_owner_options o{};
        o.size = sizeof o;
        o.name = "sibling";
        o.guaranteed_bytes = guaranteed;
        mrv_owner* made = nullptr;
        EXPECT_EQ(mrv_owner_create(host, nullptr, &o, &made), MRV_OK);
        EXPECT_EQ(mrv_owner_memory_manager(made, out.out()), MRV_OK);
        return made;
    }
    std::vector<void*> held;
};

TEST_F(budget_test, decision_3_levels_stop_at_56_60_and_64_mib_exactly) {
    open(options_for(64 * mib, 8 * mib));
    EXPECT_EQ(fill(eTaskCritical), 56u);
    EXPECT_EQ(snapshot().charged_bytes, 56 * mib);
    EXPECT_EQ(fill(eAppDomainCritical), 4u);
    EXPECT_EQ(snapshot().charged_bytes, 60 * mib);
    EXPECT_EQ(fill(eProcessCritical), 4u);
    EXPECT_EQ(snapshot().charged_bytes, 64 * mib);
    const mrv_host_figures f = snapshot();
    EXPECT_EQ(f.peak_charged_bytes, 64 * mib);
    EXPECT_EQ(f.refusals[0], 1u);
    EXPECT_EQ(f.refusals[1], 1u);
    EXPECT_EQ(f.refusals[2], 1u);
    EXPECT_EQ(figures().refusals[2], 1u);
}

TEST_F(budget_test, decision_3_levels_are_exact_to_the_page_in_small_steps) {
    open(options_for(4 * mib, mib));
    void* base = nullptr;
    ASSERT_EQ(alloc(8 * mib, eProcessCritical, &base, nullptr, MEM_RESERVE, PAGE_READWRITE), S_OK);
    std::size_t pages = 0;
    void* p = nullptr;
    const auto commit = [&](EMemoryCriticalLevel level) {
        while (alloc(page, level, &p, static_cast<char*>(base) + pages * page, MEM_COMMIT) ==
               S_OK) {
            ++pages;
        }
    };
    commit(eTaskCritical);
    EXPECT_EQ(pages * page, 3 * mib) << "credit is drained before any refusal";
    commit(eAppDomainCritical);
    EXPECT_EQ(pages * page, 3 * mib + mib / 2);
    commit(eProcessCritical);
    EXPECT_EQ(pages * page, 4 * mib);
    EXPECT_EQ(figures().committed_bytes, 4 * mib);
}

TEST_F(budget_test, decision_3_default_reserve) {
    open(options_for(400 * mib)); // max(5 %, 8 MiB) = 20 MiB
    EXPECT_EQ(snapshot().reserve_bytes, 20 * mib);
    close();
    open(options_for(64 * mib)); // 8 MiB
    EXPECT_EQ(snapshot().reserve_bytes, 8 * mib);
    close();
    open(options_for(16 * mib)); // a quarter
    EXPECT_EQ(snapshot().reserve_bytes, 4 * mib);
    close();
    open(options_for(64 * mib, MRV_NO_RESERVE));
    EXPECT_EQ(fill(eTaskCritical), 64u);
}

TEST_F(budget_test, D3_a_refusal_is_E_OUTOFMEMORY_and_changes_nothing) {
    open(options_for(64 * mib, 8 * mib));
    void* base = nullptr;
    ASSERT_EQ(alloc(80 * mib, eTaskCritical, &base, nullptr, MEM_RESERVE, PAGE_READONLY), S_OK);
    ASSERT_EQ(alloc(mib, eTaskCritical, &base, base, MEM_COMMIT), S_OK);
    static_cast<char*>(base)[5] = 5;
    const mrv_owner_figures before = figures();
    void* p = &p;
    EXPECT_EQ(alloc(60 * mib, eTaskCritical, &p, base, MEM_COMMIT), E_OUTOFMEMORY);
    EXPECT_EQ(p, nullptr);
    p = &p;
    EXPECT_EQ(alloc(57 * mib, eTaskCritical, &p), E_OUTOFMEMORY);
    EXPECT_EQ(p, nullptr);
    const mrv_owner_figures after = figures();
    EXPECT_EQ(after.reserved_bytes, before.reserved_bytes);
    EXPECT_EQ(after.committed_bytes, before.committed_bytes);
    EXPECT_EQ(after.charged_bytes, before.charged_bytes);
    EXPECT_EQ(after.mapped_writable_bytes, before.mapped_writable_bytes);
    EXPECT_EQ(static_cast<char*>(base)[5], 5);
    MEMORY_BASIC_INFORMATION m;
    SIZE_T length = 0;
    ASSERT_EQ(memory->VirtualQuery(base, &m, sizeof m, &length), S_OK);
    EXPECT_EQ(m.RegionSize, mib);
}

TEST_F(budget_test, decision_1_reserving_costs_nothing) {
    open(options_for(64 * mib, 8 * mib));
    void* p = nullptr;
    EXPECT_EQ(alloc(std::size_t{1} << 36, eTaskCritical, &p, nullptr, MEM_RESERVE), S_OK);
    EXPECT_EQ(snapshot().charged_bytes, 0u);
    EXPECT_EQ(figures().reserved_bytes, std::uint64_t{1} << 36);
    EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
}

TEST_F(budget_test, decommit_and_release_work_when_full) {
    open(options_for(64 * mib, 8 * mib));
    fill(eTaskCritical);
    fill(eProcessCritical);
    ASSERT_EQ(memory->VirtualFree(held.back(), 64 * page, MEM_DECOMMIT), S_OK);
    EXPECT_EQ(snapshot().charged_bytes, 64 * mib - 64 * page);
    ASSERT_EQ(memory->VirtualFree(held.back(), 0, MEM_RELEASE), S_OK);
    held.pop_back();
    EXPECT_EQ(snapshot().charged_bytes, 63 * mib);
    DWORD old = 0;
    EXPECT_EQ(memory->VirtualProtect(held.back(), page, PAGE_READONLY, &old), S_OK)
        << "not a commit";
    give_back(held.size());
    EXPECT_EQ(snapshot().charged_bytes, 0u);
    EXPECT_EQ(fill(eTaskCritical), 56u) << "all of it can be had again";
}

TEST_F(budget_test, D15_recommit_is_not_charged_again) {
    open(options_for(64 * mib, 8 * mib));
    void* p = nullptr;
    ASSERT_EQ(alloc(40 * mib, eTaskCritical, &p), S_OK);
    EXPECT_EQ(alloc(40 * mib, eTaskCritical, &p, p, MEM_COMMIT, PAGE_READONLY), S_OK);
    EXPECT_EQ(snapshot().charged_bytes, 40 * mib);
}

// ---- heaps ---------------------------------------------------------------------------------------

TEST_F(budget_test, decision_2_heap_pages_are_charged_and_refused_alike) {
    open(options_for(16 * mib, 4 * mib));
    com_ptr<IHostMalloc> heap;
    ASSERT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
    std::vector<void*> blocks;
    void* p = nullptr;
    while (heap->Alloc(3000, eTaskCritical, &p) == S_OK) {
        std::memset(p, 1, 3000);
        blocks.push_back(p);
    }
    EXPECT_EQ(p, nullptr);
    EXPECT_LE(snapshot().charged_bytes, 12 * mib);
    EXPECT_GT(snapshot().charged_bytes, 11 * mib);
    EXPECT_EQ(snapshot().heap_bytes, snapshot().charged_bytes);
    EXPECT_GT(snapshot().refusals[0], 0u);
    EXPECT_EQ(heap->Alloc(3000, eProcessCritical, &p), S_OK) << "the reserve is for this";
    blocks.push_back(p);
    for (void* b : blocks) {
        EXPECT_EQ(heap->Free(b), S_OK);
    }
    heap.reset();
    EXPECT_EQ(snapshot().charged_bytes, 0u);
}

// ---- owners --------------------------------------------------------------------------------------

TEST_F(budget_test, decision_3_a_guaranteed_minimum_is_kept_free_from_siblings) {
    open(options_for(64 * mib, 8 * mib));
    com_ptr<IHostMemoryManager> other;
    mrv_owner* const guaranteed = sibling(16 * mib, other);
    EXPECT_EQ(fill(eTaskCritical), 40u) << "56 less the 16 that are the sibling's";
    EXPECT_EQ(snapshot().charged_bytes, 40 * mib) << "kept free is not charged";
    EXPECT_EQ(fill(eTaskCritical, other.get()), 16u);
    EXPECT_EQ(figures(guaranteed).charged_bytes, 16 * mib);
    EXPECT_EQ(figures(guaranteed).guaranteed_bytes, 16 * mib);
}

TEST_F(budget_test, decision_3_a_guarantee_that_does_not_fit_is_refused) {
    open(options_for(64 * mib, 8 * mib));
    fill(eTaskCritical);
    mrv_owner_options o{};
    o.size = sizeof o;
    o.guaranteed_bytes = 16 * mib;
    mrv_owner* made = &*owner;
    EXPECT_EQ(mrv_owner_create(host, nullptr, &o, &made), MRV_E_OVER_BUDGET);
    EXPECT_EQ(made, nullptr);
}

TEST_F(budget_test, decision_3_hard_limits_hold_at_every_account_on_the_way_up) {
    mrv_owner_options o{};
    o.size = sizeof o;
    o.hard_limit_bytes = 10 * mib;
    const mrv_host_options h = options_for(64 * mib, 8 * mib);
    open(h, &o);
    com_ptr<IHostMemoryManager> child_memory;
    mrv_owner* child = nullptr;
    ASSERT_EQ(mrv_owner_create(host, owner, nullptr, &child), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(child, child_memory.out()), MRV_OK);
    EXPECT_EQ(fill(eProcessCritical, child_memory.get()), 10u);
    EXPECT_EQ(fill(eProcessCritical), 0u);
    EXPECT_EQ(figures().charged_bytes, 10 * mib) << "the child's are the parent's too";
    EXPECT_EQ(figures(child).charged_bytes, 10 * mib);
}

TEST_F(budget_test, limits_changed_while_running_never_take_what_is_held) {
    open(options_for(64 * mib, 8 * mib));
    fill(eTaskCritical);
    mrv_host_options lower = options_for(32 * mib, 8 * mib);
    ASSERT_EQ(mrv_host_set_limits(host, &lower), MRV_OK);
    EXPECT_EQ(snapshot().charged_bytes, 56 * mib);
    EXPECT_EQ(fill(eProcessCritical), 0u);
    static_cast<char*>(held[0])[100] = 1; // still there
    give_back(40);
    EXPECT_EQ(fill(eTaskCritical), 8u) << "16 held, 24 the ceiling";
    mrv_host_options higher = options_for(128 * mib, 8 * mib);
    ASSERT_EQ(mrv_host_set_limits(host, &higher), MRV_OK);
    EXPECT_EQ(fill(eTaskCritical), 96u);
    EXPECT_EQ(snapshot().limit_bytes, 128 * mib);
    mrv_owner_options o{};
    o.size = sizeof o;
    o.hard_limit_bytes = 60 * mib;
    ASSERT_EQ(mrv_owner_set_limits(owner, &o), MRV_OK);
    EXPECT_EQ(fill(eProcessCritical), 0u);
    EXPECT_EQ(figures().limit_bytes, 60 * mib);
}

TEST_F(budget_test, push_owner_charges_what_this_thread_asks_for_elsewhere) {
    open(options_for(64 * mib, 8 * mib));
    com_ptr<IHostMemoryManager> other_memory;
    mrv_owner* const other = sibling(0, other_memory);
    ASSERT_EQ(mrv_thread_push_owner(other), MRV_OK);
    void* p = nullptr;
    ASSERT_EQ(alloc(mib, eTaskCritical, &p), S_OK);
    std::thread([&] {
        void* q = nullptr;
        EXPECT_EQ(alloc(2 * mib, eTaskCritical, &q), S_OK) << "another thread is not affected";
    }).join();
    ASSERT_EQ(mrv_thread_push_owner(owner), MRV_OK); // nested
    void* r = nullptr;
    ASSERT_EQ(alloc(4 * mib, eTaskCritical, &r), S_OK);
    ASSERT_EQ(mrv_thread_pop_owner(), MRV_OK);
    ASSERT_EQ(mrv_thread_pop_owner(), MRV_OK);
    EXPECT_EQ(mrv_thread_pop_owner(), MRV_E_INVALID_ARGUMENT);
    EXPECT_EQ(figures(other).charged_bytes, mib);
    EXPECT_EQ(figures().charged_bytes, 6 * mib);
    EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
    EXPECT_EQ(figures(other).charged_bytes, 0u) << "refunded to who was charged";
}

TEST_F(budget_test, levels_under_threads_never_pass_the_ceiling_and_lose_nothing) {
    open(options_for(64 * mib, 8 * mib));
    std::vector<std::thread> threads;
    std::vector<std::vector<void*>> mine(4);
    for (auto& blocks : mine) {
        threads.emplace_back([&] {
            void* p = nullptr;
            while (alloc(12 * page, eTaskCritical, &p) == S_OK) {
                blocks.push_back(p);
            }
        });
    }
    for (auto& t : threads) {
        t.join();
    }
    const mrv_host_figures f = snapshot();
    EXPECT_LE(f.peak_charged_bytes, 56 * mib);
    std::size_t count = 0;
    for (auto& blocks : mine) {
        count += blocks.size();
        for (void* p : blocks) {
            EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
        }
    }
    EXPECT_EQ(f.committed_bytes, count * 12 * page);
    EXPECT_GT(count * 12 * page, 55 * mib) << "parked credit is drained before a refusal";
    EXPECT_EQ(fill(eTaskCritical), 56u);
}

} // namespace
} // namespace memreeve::test
