// SPDX-License-Identifier: MIT
// The notifier alone, over a bare owner tree: when its thread exists, what wakes it, that what was
// prepared can be ended, that slots are used again, that the system's state counts too. What a
// runtime sees of it is in tests/conformance/notification_test.cpp.
#include "manager/notifier.hpp"

#include "budget/charge.hpp"
#include "support/own_threads.hpp"
#include "support/withheld_time.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

namespace memreeve::manager {
namespace {

using namespace std::chrono_literals;
using pressure::availability;

constexpr byte_count mib = 1 << 20;

struct listener {
    std::atomic<int> calls{0};
    std::atomic<int> last{-1};
    std::atomic<std::chrono::steady_clock::time_point> last_at{};
    static bool hear(void* self, const notice& n) noexcept {
        auto& me = *static_cast<listener*>(self);
        me.last_at = std::chrono::steady_clock::now();
        me.last = static_cast<int>(n.level);
        ++me.calls;
        return true;
    }
};

class notifier_test : public ::testing::Test {
protected:
    void SetUp() override {
        system_.open("", false);
        budget::tree::limits l;
        l.hard = 64 * mib;
        l.reserve = 8 * mib;
        root_ = *tree_.open_account(owner_id::none, "root", l, 0);
        leaf_ = *tree_.open_account(root_, "leaf", {}, 0);
    }
    void TearDown() override { notifier_->close(); }
    void open() { notifier_->open(tree_, system_, nullptr); }
    void take(byte_count size) {
        budget::charge c;
        ASSERT_TRUE(tree_.take(leaf_, pages_of(size), criticality::process, c));
        c.keep();
    }
    void give_back(byte_count size) { tree_.refund(leaf_, pages_of(size)); }
    template <class F>
    static bool wait_until(F holds) {
        for (int i = 0; i < 30000 && !holds(); ++i) {
            std::this_thread::sleep_for(1ms);
        }
        return holds();
    }
    std::unique_ptr<budget::account[]> accounts_ = std::make_unique<budget::account[]>(16);
    budget::tree tree_{accounts_.get(), 16, nullptr, 0};
    sensors system_;
    std::unique_ptr<notifier> notifier_ = std::make_unique<notifier>();
    owner_id root_ = owner_id::none;
    owner_id leaf_ = owner_id::none;
};

TEST_F(notifier_test, decision_14_no_thread_before_the_first_subscription) {
    std::thread([] {}).join(); // sanitizers start a thread of their own with the first
    const std::size_t before = test::own_threads();
    open();
    take(60 * mib);
    EXPECT_EQ(test::own_threads(), before);
    listener a;
    const auto id = notifier_->subscribe(leaf_, &listener::hear, &a);
    ASSERT_TRUE(id);
    EXPECT_EQ(test::own_threads(), before + 1);
    listener b;
    ASSERT_TRUE(notifier_->subscribe(leaf_, &listener::hear, &b));
    EXPECT_EQ(test::own_threads(), before + 1) << "one for all";
    EXPECT_TRUE(wait_until([&] { return a.calls == 1 && b.calls == 1; }));
    notifier_->close();
    EXPECT_TRUE(wait_until([&] { return test::own_threads() == before; }));
}

// A crossing that nothing else follows must be heard: a fresh subscriber each time, crossing at
// every moment relative to the thread's own look.
TEST_F(notifier_test, every_crossing_of_the_watermark_is_heard) {
    open();
    take(40 * mib); // nothing better is on its way, however late the crossing
    for (int i = 1; i <= 500; ++i) {
        listener a;
        const auto id = notifier_->subscribe(leaf_, &listener::hear, &a);
        ASSERT_TRUE(id);
        for (std::atomic<int> spin{0}; spin < i * 37 % 20000; ++spin) {
        }
        take(12 * mib);
        ASSERT_TRUE(wait_until([&] { return a.calls == 1; })) << i;
        ASSERT_EQ(a.last, static_cast<int>(availability::low));
        if (i % 2 == 0) { // nobody notes that this goes down again
            notifier_->unsubscribe(*id);
            give_back(12 * mib);
        } else {
            give_back(12 * mib);
            notifier_->unsubscribe(*id);
        }
    }
}

TEST_F(notifier_test, decision_14_ending_a_subscription_waits_for_its_running_call) {
    struct slow_listener {
        std::atomic<bool> is_inside{false};
        std::atomic<bool> may_leave{false};
        static bool hear(void* self, const notice&) noexcept {
            auto& me = *static_cast<slow_listener*>(self);
            me.is_inside = true;
            while (!me.may_leave) {
                std::this_thread::sleep_for(1ms);
            }
            me.is_inside = false;
            return true;
        }
    } slow;
    open();
    const auto id = notifier_->subscribe(leaf_, &slow_listener::hear, &slow);
    ASSERT_TRUE(id);
    take(52 * mib);
    ASSERT_TRUE(wait_until([&] { return slow.is_inside.load(); }));
    std::atomic<bool> ended{false};
    std::thread other([&] {
        notifier_->unsubscribe(*id);
        EXPECT_FALSE(slow.is_inside);
        ended = true;
    });
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(ended);
    slow.may_leave = true;
    other.join();
}

TEST_F(notifier_test, small_steps_find_the_watermark_too) {
    open();
    listener a;
    ASSERT_TRUE(notifier_->subscribe(leaf_, &listener::hear, &a));
    for (page_count pages = 0; pages < pages_of(51 * mib); ++pages) {
        take(page_size);
    }
    EXPECT_TRUE(wait_until([&] { return a.last == static_cast<int>(availability::low); }));
}

TEST_F(notifier_test, what_was_prepared_can_be_ended_before_it_goes_live) {
    open();
    take(60 * mib);
    listener a;
    const auto id = notifier_->prepare(leaf_, &listener::hear, &a);
    ASSERT_TRUE(id);
    EXPECT_FALSE(notifier_->has_subscribers());
    EXPECT_EQ(notifier_->unsubscribe(*id), &a);
    notifier_->go_live(*id); // too late: nothing
    EXPECT_FALSE(notifier_->has_subscribers());
    EXPECT_EQ(notifier_->unsubscribe(*id), nullptr);
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(a.calls, 0);
}

TEST_F(notifier_test, an_id_names_one_subscription_for_ever) {
    open();
    listener a;
    listener b;
    const auto first = notifier_->subscribe(leaf_, &listener::hear, &a);
    ASSERT_TRUE(first);
    EXPECT_EQ(notifier_->unsubscribe(*first), &a);
    const auto second = notifier_->subscribe(leaf_, &listener::hear, &b); // the same slot
    ASSERT_TRUE(second);
    EXPECT_EQ(notifier_->unsubscribe(*first), nullptr) << "an old id ends nothing";
    EXPECT_TRUE(notifier_->has_subscribers());
    EXPECT_EQ(notifier_->unsubscribe(subscription_id::none), nullptr);
    EXPECT_EQ(notifier_->unsubscribe(*second), &b);
}

TEST_F(notifier_test, capacity_is_stated_and_kept) {
    open();
    listener a;
    std::vector<subscription_id> ids;
    for (std::uint32_t i = 0; i < notifier::capacity; ++i) {
        const auto id = notifier_->subscribe(leaf_, &listener::hear, &a);
        ASSERT_TRUE(id) << i;
        ids.push_back(*id);
    }
    const auto more = notifier_->subscribe(leaf_, &listener::hear, &a);
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().code, errc::out_of_address_space);
    notifier_->unsubscribe(ids.back());
    EXPECT_TRUE(notifier_->subscribe(leaf_, &listener::hear, &a));
    take(52 * mib);
    EXPECT_TRUE(wait_until([&] { return a.calls >= static_cast<int>(notifier::capacity); }));
}

TEST_F(notifier_test, decision_13_the_machine_counts_when_it_is_watched) {
    std::string root = ::testing::TempDir() + "notifier-XXXXXX";
    ASSERT_NE(::mkdtemp(root.data()), nullptr);
    std::filesystem::create_directories(root + "/proc");
    const auto put = [&root](int available) {
        std::ofstream(root + "/proc/meminfo.new")
            << "MemTotal: 1000 kB\nMemAvailable: " << available << " kB\n";
        std::filesystem::rename(root + "/proc/meminfo.new", root + "/proc/meminfo");
    };
    put(300);
    system_.open(root.c_str(), true);
    test::withheld_time withheld;
    open();
    listener a;
    ASSERT_TRUE(notifier_->subscribe(leaf_, &listener::hear, &a));
    std::this_thread::sleep_for(150ms);
    EXPECT_EQ(a.calls, 0);
    const auto withheld_before = withheld.so_far();
    put(50);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(wait_until([&] { return a.calls == 1; }));
    EXPECT_EQ(a.last, static_cast<int>(availability::low));
    const auto took = a.last_at.load() - begin;
    EXPECT_LT(took - (withheld.so_far() - withheld_before), 2s);
    notifier_->close();
    std::filesystem::remove_all(root);
}

TEST_F(notifier_test, decision_3_who_has_a_guarantee_is_not_low_because_of_it) {
    budget::tree::limits l;
    l.guaranteed = 50 * mib; // nine tenths of what tasks may have are kept free for this one
    const owner_id favoured = *tree_.open_account(root_, "favoured", l, 0);
    open();
    listener of_favoured;
    listener of_leaf;
    ASSERT_TRUE(notifier_->subscribe(favoured, &listener::hear, &of_favoured));
    ASSERT_TRUE(notifier_->subscribe(leaf_, &listener::hear, &of_leaf));
    take(2 * mib);
    EXPECT_TRUE(wait_until([&] { return of_leaf.last == static_cast<int>(availability::low); }))
        << "for the others there is little";
    EXPECT_NE(of_favoured.last, static_cast<int>(availability::low));
}

} // namespace
} // namespace memreeve::manager
