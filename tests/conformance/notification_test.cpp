// SPDX-License-Identifier: MIT
// Decision 14, D18, D19: who is told, when, on which thread, and what a callback may do.
//
// Who listens below 60 % is told of High a second later, and a test may lose the processor for so long:
// what comes first is tested from 71 % on (take_middle), where nothing better is on its way.
#include "support/test_host.hpp"
#include "support/withheld_time.hpp"

#include <algorithm>
#include <thread>

namespace memreeve::test {
namespace {

using namespace std::chrono_literals;

class notification_test : public host_test {
protected:
    void SetUp() override { open(options_for(64 * mib, 8 * mib)); }
    void* take(std::size_t size) {
        void* p = nullptr;
        EXPECT_EQ(alloc(size, eProcessCritical, &p), S_OK);
        return p;
    }
    // 40 of the 56 that tasks may have. What `take` takes comes on top.
    void* take_middle() { return take(40 * mib); }
    void give_back(void* p) { EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK); }
    static bool wait_until(const std::function<bool()>& holds,
                           std::chrono::milliseconds patience = 10s) {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!holds() && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(1ms);
        }
        return holds();
    }
    recording_callback callback;
};

TEST_F(notification_test, D19_low_then_neutral_then_high) {
    void* middle = take_middle();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    void* p = take(11 * mib); // 91 % of the 56 that tasks may have
    ASSERT_TRUE(callback.wait_for(1));
    give_back(p);
    give_back(middle);
    ASSERT_TRUE(callback.wait_for(3));
    const std::vector<EMemoryAvailable> expected = {eMemoryAvailableLow, eMemoryAvailableNeutral,
                                                    eMemoryAvailableHigh};
    EXPECT_EQ(callback.told(), expected);
    const mrv_host_figures f = snapshot();
    EXPECT_EQ(f.notifications[0], 1u);
    EXPECT_EQ(f.notifications[1], 1u);
    EXPECT_EQ(f.notifications[2], 1u);
}

TEST_F(notification_test, D19_worse_news_come_at_once_better_news_after_a_second) {
    withheld_time withheld;
    take_middle();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    auto withheld_before = withheld.so_far();
    void* p = take(11 * mib);
    auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(callback.wait_for(1));
    EXPECT_EQ(callback.told()[0], eMemoryAvailableLow);
    EXPECT_LT(callback.told_at(0) - begin - (withheld.so_far() - withheld_before), 500ms);
    withheld_before = withheld.so_far();
    begin = std::chrono::steady_clock::now();
    give_back(p);
    ASSERT_TRUE(callback.wait_for(2));
    EXPECT_EQ(callback.told()[1], eMemoryAvailableNeutral);
    // The second counts from the beginning of the look that finds more room.
    EXPECT_GE(callback.told_at(1) - begin + (withheld.so_far() - withheld_before), 990ms);
}

TEST_F(notification_test, D19_low_at_90_percent_of_the_task_ceiling_and_not_before) {
    take_middle();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    take(10 * mib); // 89.3 %
    EXPECT_FALSE(callback.wait_for(1, 300ms));
    take(512 * 1024); // 90.2 %
    ASSERT_TRUE(callback.wait_for(1));
    EXPECT_EQ(callback.told()[0], eMemoryAvailableLow);
}

TEST_F(notification_test, D18_who_registers_under_pressure_is_told_at_once) {
    take(52 * mib);
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_TRUE(callback.wait_for(1));
    EXPECT_EQ(callback.told()[0], eMemoryAvailableLow);
}

TEST_F(notification_test, limits_changed_while_running_notify) {
    take_middle();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_FALSE(callback.wait_for(1, 300ms)) << "no look is due any more";
    mrv_host_options lower = options_for(46 * mib, 4 * mib); // 40 of 42
    ASSERT_EQ(mrv_host_set_limits(host, &lower), MRV_OK);
    ASSERT_TRUE(callback.wait_for(1));
    EXPECT_EQ(callback.told()[0], eMemoryAvailableLow);
}

TEST_F(notification_test, decision_3_the_soft_limit_only_notifies) {
    take(16 * mib);
    mrv_owner_options o{};
    o.size = sizeof o;
    o.soft_limit_bytes = 20 * mib; // 80 % of what makes it Low
    ASSERT_EQ(mrv_owner_set_limits(owner, &o), MRV_OK);
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    take(3 * mib);
    EXPECT_FALSE(callback.wait_for(1, 200ms));
    take(2 * mib);
    ASSERT_TRUE(callback.wait_for(1));
    EXPECT_EQ(callback.told()[0], eMemoryAvailableLow);
    EXPECT_EQ(figures().soft_limit_bytes, 20 * mib);
    EXPECT_EQ(snapshot().refusals[2], 0u);
}

// ---- threads and locks --------------------------------------------------------------------------

TEST_F(notification_test, decision_14_never_called_from_the_requesting_thread) {
    const auto requester = std::this_thread::get_id();
    std::atomic<bool> same{false};
    callback.inside = [&](EMemoryAvailable) {
        same = same || std::this_thread::get_id() == requester;
    };
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    take(52 * mib);
    ASSERT_TRUE(callback.wait_for(1));
    memory->RegisterMemoryNotificationCallback(
        nullptr); // the call looks at what lies on this stack
    EXPECT_FALSE(same);
}

TEST_F(notification_test, decision_14_a_callback_may_call_every_method) {
    std::atomic<int> done{0};
    callback.inside = [&](EMemoryAvailable) {
        void* p = nullptr;
        EXPECT_EQ(alloc(mib, eProcessCritical, &p), S_OK);
        MEMORY_BASIC_INFORMATION m;
        SIZE_T length = 0;
        EXPECT_EQ(memory->VirtualQuery(p, &m, sizeof m, &length), S_OK);
        DWORD old = 0;
        EXPECT_EQ(memory->VirtualProtect(p, 1, PAGE_READONLY, &old), S_OK);
        DWORD percent = 0;
        SIZE_T available = 0;
        EXPECT_EQ(memory->GetMemoryLoad(&percent, &available), S_OK);
        EXPECT_EQ(memory->NeedsVirtualAddressSpace(nullptr, 4096), S_OK);
        EXPECT_EQ(memory->AcquiredVirtualAddressSpace(&done, 4), S_OK);
        EXPECT_EQ(memory->ReleasedVirtualAddressSpace(&done), S_OK);
        com_ptr<IHostMalloc> heap;
        EXPECT_EQ(memory->CreateMalloc(MALLOC_THREADSAFE, heap.out()), S_OK);
        void* block = nullptr;
        EXPECT_EQ(heap->Alloc(100, eProcessCritical, &block), S_OK);
        EXPECT_EQ(heap->Free(block), S_OK);
        heap.reset();
        EXPECT_EQ(memory->VirtualFree(p, 0, MEM_RELEASE), S_OK);
        if (done == 0) {
            EXPECT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK)
                << "itself again";
        }
        ++done;
    };
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    take(52 * mib);
    EXPECT_TRUE(wait_until([&] { return done >= 1; }));
    memory->RegisterMemoryNotificationCallback(nullptr);
    EXPECT_EQ(callback.running, 0) << "also the call that had replaced itself has returned";
    EXPECT_EQ(callback.references, 1u);
}

TEST_F(notification_test, decision_14_a_callback_may_end_its_own_registration) {
    callback.inside = [&](EMemoryAvailable) {
        EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK) << "returns at once";
    };
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    void* p = take(52 * mib);
    ASSERT_TRUE(callback.wait_for(1));
    give_back(p);
    memory->RegisterMemoryNotificationCallback(nullptr);
    EXPECT_EQ(callback.references, 1u) << "waits for the call that has ended itself";
    EXPECT_FALSE(callback.wait_for(2, 1500ms)) << "Neutral would have come after a second";
    // The slot is free again.
    recording_callback next;
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&next), S_OK);
    take(52 * mib);
    EXPECT_TRUE(next.wait_for(1));
    memory->RegisterMemoryNotificationCallback(nullptr);
}

TEST_F(notification_test, decision_14_ending_it_elsewhere_waits_for_the_running_call) {
    std::atomic<bool> leave{false};
    callback.inside = [&](EMemoryAvailable) {
        while (!leave) {
            std::this_thread::sleep_for(1ms);
        }
        std::this_thread::sleep_for(20ms);
    };
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    void* p = take(52 * mib);
    ASSERT_TRUE(callback.wait_for(1));
    std::atomic<bool> returned{false};
    std::thread other([&] {
        memory->RegisterMemoryNotificationCallback(nullptr);
        EXPECT_EQ(callback.running, 0) << "no call runs after it has returned";
        returned = true;
    });
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(returned);
    // Requests do not wait for the callback.
    give_back(p);
    p = take(52 * mib);
    leave = true;
    other.join();
    const std::size_t count = callback.told().size();
    give_back(p);
    std::this_thread::sleep_for(1200ms);
    EXPECT_EQ(callback.told().size(), count) << "and none starts";
}

TEST_F(notification_test, decision_14_also_for_a_call_that_has_ended_itself) {
    std::atomic<bool> leave{false};
    std::atomic<bool> is_ended{false};
    callback.inside = [&](EMemoryAvailable) {
        EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
        is_ended = true;
        while (!leave) {
            std::this_thread::sleep_for(1ms);
        }
    };
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    take(52 * mib);
    ASSERT_TRUE(wait_until([&] { return is_ended.load(); }));
    std::atomic<bool> returned{false};
    std::thread other([&] {
        memory->RegisterMemoryNotificationCallback(nullptr);
        EXPECT_EQ(callback.running, 0) << "its code may be unloaded now";
        returned = true;
    });
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(returned);
    leave = true;
    other.join();
    EXPECT_EQ(callback.references, 1u);
}

TEST_F(notification_test, decision_14_register_and_end_from_many_threads) {
    std::atomic<bool> stop{false};
    std::vector<std::unique_ptr<recording_callback>> callbacks;
    for (int i = 0; i < 4; ++i) {
        callbacks.push_back(std::make_unique<recording_callback>());
    }
    std::vector<std::thread> threads;
    for (auto& c : callbacks) {
        threads.emplace_back([&, one = c.get()] {
            while (!stop) {
                memory->RegisterMemoryNotificationCallback(one);
                std::this_thread::yield();
                memory->RegisterMemoryNotificationCallback(nullptr);
            }
        });
    }
    const auto end = std::chrono::steady_clock::now() + 1s;
    while (std::chrono::steady_clock::now() < end) {
        give_back(take(52 * mib));
    }
    stop = true;
    for (auto& t : threads) {
        t.join();
    }
    memory->RegisterMemoryNotificationCallback(nullptr);
    for (auto& c : callbacks) {
        EXPECT_TRUE(wait_until([&] { return c->references == 1u; })) << c->references;
        EXPECT_EQ(c->running, 0);
    }
}

TEST_F(notification_test, D18_a_second_registration_replaces_the_first) {
    recording_callback second;
    take_middle();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    EXPECT_EQ(callback.references, 2u);
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&second), S_OK);
    EXPECT_EQ(callback.references, 1u);
    EXPECT_EQ(second.references, 2u);
    take(12 * mib);
    ASSERT_TRUE(second.wait_for(1));
    EXPECT_TRUE(callback.told().empty());
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
    EXPECT_EQ(second.references, 1u);
    EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK) << "nothing to end";
}

TEST_F(notification_test, D19_clr_not_available_ends_the_notifications) {
    callback.answer = HOST_E_CLRNOTAVAILABLE;
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    void* p = take(52 * mib);
    ASSERT_TRUE(callback.wait_for(1));
    give_back(p);
    EXPECT_FALSE(callback.wait_for(2, 1500ms));
    memory->RegisterMemoryNotificationCallback(nullptr);
}

TEST_F(notification_test, a_callback_that_is_never_ended_is_released_with_the_host) {
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    close();
    EXPECT_EQ(callback.references, 1u);
}

// ---- native subscribers -----------------------------------------------------------------------------

struct heard {
    std::mutex mutex;
    std::vector<mrv_pressure_event> events;
    mrv_subscription* subscription = nullptr;
    bool end_inside = false;

    static void call(void* context, const mrv_pressure_event* event) {
        auto& me = *static_cast<heard*>(context);
        const std::lock_guard<std::mutex> hold(me.mutex);
        me.events.push_back(*event);
        if (me.end_inside) {
            EXPECT_EQ(mrv_host_unsubscribe(me.subscription), MRV_OK);
        }
    }
    std::size_t count() {
        const std::lock_guard<std::mutex> hold(mutex);
        return events.size();
    }
};

TEST_F(notification_test, several_native_subscribers_and_a_runtime_are_all_told) {
    heard a;
    heard b;
    take_middle();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_EQ(mrv_host_subscribe(host, &heard::call, &a, &a.subscription), MRV_OK);
    ASSERT_EQ(mrv_owner_subscribe(owner, &heard::call, &b, &b.subscription), MRV_OK);
    take(12 * mib);
    EXPECT_TRUE(callback.wait_for(1));
    EXPECT_TRUE(wait_until([&] { return a.count() >= 1 && b.count() >= 1; }));
    EXPECT_EQ(a.events[0].size, sizeof(mrv_pressure_event));
    EXPECT_EQ(a.events[0].availability, static_cast<std::uint32_t>(MRV_MEMORY_LOW));
    EXPECT_EQ(a.events[0].load_percent, 92u);
    EXPECT_EQ(a.events[0].available_bytes, 4 * mib);
    EXPECT_EQ(mrv_host_unsubscribe(a.subscription), MRV_OK);
    EXPECT_EQ(mrv_host_unsubscribe(b.subscription), MRV_OK);
    EXPECT_EQ(mrv_host_unsubscribe(nullptr), MRV_OK);
    memory->RegisterMemoryNotificationCallback(nullptr);
}

TEST_F(notification_test, a_native_subscriber_may_end_itself) {
    heard a;
    a.end_inside = true;
    ASSERT_EQ(mrv_host_subscribe(host, &heard::call, &a, &a.subscription), MRV_OK);
    give_back(take(52 * mib));
    EXPECT_TRUE(wait_until([&] { return a.count() == 1; }));
    std::this_thread::sleep_for(1200ms);
    EXPECT_EQ(a.count(), 1u);
}

TEST_F(notification_test, siblings_are_told_for_themselves) {
    mrv_owner_options o{};
    o.size = sizeof o;
    o.hard_limit_bytes = 4 * mib;
    mrv_owner* small = nullptr;
    com_ptr<IHostMemoryManager> small_memory;
    ASSERT_EQ(mrv_owner_create(host, nullptr, &o, &small), MRV_OK);
    ASSERT_EQ(mrv_owner_memory_manager(small, small_memory.out()), MRV_OK);
    recording_callback of_small;
    void* p = nullptr;
    ASSERT_EQ(small_memory->VirtualAlloc(nullptr, 3 * mib, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                         eTaskCritical, &p),
              S_OK); // 75 %
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_EQ(small_memory->RegisterMemoryNotificationCallback(&of_small), S_OK);
    ASSERT_EQ(small_memory->VirtualAlloc(nullptr, mib - 16 * page, MEM_RESERVE | MEM_COMMIT,
                                         PAGE_READWRITE, eTaskCritical, &p),
              S_OK);
    ASSERT_TRUE(of_small.wait_for(1));
    EXPECT_EQ(of_small.told()[0], eMemoryAvailableLow);
    const auto told = callback.told();
    EXPECT_EQ(std::count(told.begin(), told.end(), eMemoryAvailableLow), 0);
    small_memory->RegisterMemoryNotificationCallback(nullptr);
    memory->RegisterMemoryNotificationCallback(nullptr);
}

} // namespace
} // namespace memreeve::test
