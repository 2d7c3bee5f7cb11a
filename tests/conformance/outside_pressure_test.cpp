// SPDX-License-Identifier: MIT
// Decision 13, F27, F28: what others do to memory reaches a runtime's callback and native subscribers,
// and nobody looks while nobody listens: no thread, no descriptor.
#include "support/system_tree.hpp"
#include "support/test_host.hpp"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace memreeve::test {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

std::size_t entries_of(const char* directory) {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) {
        ++n;
    }
    return n;
}
std::size_t threads() { return entries_of("/proc/self/task"); }
std::size_t descriptors() { return entries_of("/proc/self/fd"); }

// A file that the watcher has open for a moment counts among the descriptors: once is enough.
bool wait_until(const std::function<bool()>& holds, std::chrono::milliseconds patience = 5s) {
    const auto end = clock::now() + patience;
    while (!holds()) {
        if (clock::now() >= end) {
            return false;
        }
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

std::string bytes(std::uint64_t n) { return std::to_string(n) + "\n"; }

class outside_pressure_test : public host_test {
protected:
    void SetUp() override {
        std::thread([] {}).join(); // sanitizers start a thread of their own with the first
        std::this_thread::sleep_for(10ms);
        ::unsetenv("MEMORY_PRESSURE_WATCH");
        ::unsetenv("MEMORY_PRESSURE_WRITE");
        tree.put_meminfo(16 << 20, 8 << 20);
        tree.put("/proc/self/cgroup", "0::/a/b\n");
        tree.put("/proc/self/mountinfo", "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        put_group("/a/b", 1024, 600);
    }
    void TearDown() override {
        host_test::TearDown();
        ::unsetenv("MEMORY_PRESSURE_WATCH");
        ::unsetenv("MEMORY_PRESSURE_WRITE");
    }
    void put_group(const std::string& group, std::uint64_t limit_mib, std::uint64_t used_mib) {
        tree.put("/sys/fs/cgroup" + group + "/memory.max", bytes(limit_mib * mib));
        tree.put("/sys/fs/cgroup" + group + "/memory.current", bytes(used_mib * mib));
    }
    void open_host(const char* root = nullptr) {
        mrv_host_options o{};
        o.size = sizeof o;
        o.system_root = root != nullptr ? root : tree.root();
        open(o);
    }
    // When Low came after `change`, in milliseconds; -1: not within 5 s.
    double milliseconds_to_low(const std::function<void()>& change) {
        const std::size_t told = callback.told().size();
        const auto begin = clock::now();
        change();
        if (!callback.wait_for(told + 1, 5s) || callback.told().back() != eMemoryAvailableLow) {
            return -1;
        }
        return std::chrono::duration<double, std::milli>(clock::now() - begin).count();
    }
    system_tree tree;
    recording_callback callback;
};

struct heard {
    std::atomic<int> calls{0};
    std::atomic<std::uint32_t> last{0};
    std::atomic<std::uint64_t> available{0};
    static void hear(void* self, const mrv_pressure_event* event) {
        auto& me = *static_cast<heard*>(self);
        me.available = event->available_bytes;
        me.last = event->availability;
        ++me.calls;
    }
};

TEST_F(outside_pressure_test, F27_a_limit_lowered_at_run_time_is_seen_within_250_ms) {
    open_host();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    std::vector<double> took;
    for (int round = 0; round < 5; ++round) {
        // At every moment relative to the notifier's own look.
        EXPECT_FALSE(callback.wait_for(callback.told().size() + 1,
                                       std::chrono::milliseconds(110 + round * 37)));
        took.push_back(milliseconds_to_low([&] { put_group("/a/b", 640, 600); }));
        put_group("/a/b", 1024, 600);
        ASSERT_TRUE(callback.wait_for(callback.told().size() + 1, 5s)) << "Neutral after a second";
        EXPECT_EQ(callback.told().back(), eMemoryAvailableNeutral);
    }
    for (const double ms : took) {
        std::printf("lowered limit -> Low: %.1f ms\n", ms);
        EXPECT_GE(ms, 0);
        EXPECT_LE(ms, 250);
    }
}

TEST_F(outside_pressure_test, decision_13_whichever_binds_is_told_of) {
    open_host();
    heard native;
    mrv_subscription* subscription = nullptr;
    ASSERT_EQ(mrv_host_subscribe(host, &heard::hear, &native, &subscription), MRV_OK);
    put_group("/a", 620, 600); // the ancestor
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_LOW; }));
    EXPECT_EQ(native.available, 20 * mib);
    put_group("/a", 6200, 600);
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_NEUTRAL; }));
    tree.put_meminfo(16 << 20, 300 << 10); // the machine: 300 MiB, less than the group's 424
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_LOW; }));
    EXPECT_EQ(native.available, 300 * mib);
    tree.remove("/proc/meminfo"); // not known any more: binds nothing
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_NEUTRAL; }));
    EXPECT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
}

TEST_F(outside_pressure_test, the_budget_alone_does_not_look_outside) {
    mrv_host_options o = options_for(64 * mib, 8 * mib);
    o.system_root = tree.root();
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", "/proc/pressure/memory", 1), 0);
    open(o);
    const std::size_t before = descriptors();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    put_group("/a/b", 600, 600);
    EXPECT_FALSE(callback.wait_for(1, 400ms));
    EXPECT_EQ(descriptors(), before);
}

// ---- nothing while nobody listens -----------------------------------------------------------------

TEST_F(outside_pressure_test, no_thread_and_no_descriptor_before_and_after) {
    const std::string fifo = tree / "/fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", fifo.c_str(), 1), 0);
    const std::size_t threads_before = threads();
    const std::size_t descriptors_before = descriptors();
    open_host();
    const auto is_as_before = [&] {
        return threads() == threads_before && descriptors() == descriptors_before;
    };
    DWORD load = 0;
    SIZE_T available = 0;
    EXPECT_EQ(memory->GetMemoryLoad(&load, &available), S_OK);
    EXPECT_TRUE(is_as_before()) << "asking is not listening";
    for (int round = 0; round < 3; ++round) {
        ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
        heard native;
        mrv_subscription* subscription = nullptr;
        ASSERT_EQ(mrv_host_subscribe(host, &heard::hear, &native, &subscription), MRV_OK);
        EXPECT_EQ(threads(), threads_before + 1) << "one for all";
        EXPECT_TRUE(wait_until([&] { return descriptors() == descriptors_before + 1; }));
        EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
        std::this_thread::sleep_for(50ms);
        EXPECT_EQ(threads(), threads_before + 1) << "one still listens";
        EXPECT_TRUE(wait_until([&] { return descriptors() == descriptors_before + 1; }));
        EXPECT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
        EXPECT_TRUE(wait_until(is_as_before)) << "round " << round;
    }
    close();
    EXPECT_TRUE(is_as_before());
}

TEST_F(outside_pressure_test, the_last_that_ends_itself_inside_its_call_ends_the_thread) {
    open_host();
    const std::size_t before = threads();
    std::atomic<bool> ends_itself{true};
    callback.inside = [&](EMemoryAvailable) {
        if (ends_itself) {
            EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
        }
    };
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    put_group("/a/b", 600, 600);
    ASSERT_TRUE(callback.wait_for(1));
    EXPECT_TRUE(wait_until([&] { return threads() == before; }));
    // And a new one starts it again.
    ends_itself = false;
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_TRUE(callback.wait_for(2)) << "still low";
    EXPECT_EQ(threads(), before + 1);
    EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
}

#ifndef __SANITIZE_THREAD__ // which allows no thread in a child of a process with threads
TEST_F(outside_pressure_test, a_child_of_fork_has_neither_thread_nor_the_parents_descriptor) {
    const std::string fifo = tree / "/fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", fifo.c_str(), 1), 0);
    open_host();
    const std::size_t during = descriptors() + 1; // now the FIFO is watched
    heard native;
    mrv_subscription* subscription = nullptr;
    ASSERT_EQ(mrv_host_subscribe(host, &heard::hear, &native, &subscription), MRV_OK);
    ASSERT_TRUE(wait_until([&] { return descriptors() == during; }));
    const pid_t child = ::fork();
    if (child == 0) {
        heard own;
        mrv_subscription* again = nullptr;
        int failed = threads() == 1 ? 0 : 1;
        failed |= mrv_host_subscribe(host, &heard::hear, &own, &again) == MRV_OK ? 0 : 2;
        put_group("/a/b", 600, 600);
        failed |= wait_until([&] { return own.last == MRV_MEMORY_LOW; }) ? 0 : 4;
        failed |= wait_until([&] { return descriptors() == during; })
                      ? 0
                      : 8; // the parent's replaced by its own
        failed |= mrv_host_unsubscribe(again) == MRV_OK ? 0 : 16;
        ::_exit(failed);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "bits of exit status " << (status >> 8);
    EXPECT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_LOW; }))
        << "the parent's goes on";
    EXPECT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
}
#endif

TEST_F(outside_pressure_test, subscribing_from_many_threads_while_the_thread_ends_and_starts) {
    open_host();
    const std::size_t before = threads();
    put_group("/a/b", 600, 600);
    std::vector<std::thread> all;
    for (int t = 0; t < 3; ++t) {
        all.emplace_back([&] {
            for (int round = 0; round < 100; ++round) {
                heard native;
                mrv_subscription* subscription = nullptr;
                ASSERT_EQ(mrv_host_subscribe(host, &heard::hear, &native, &subscription), MRV_OK);
                if (round % 10 == 0) {
                    ASSERT_TRUE(wait_until([&] { return native.calls != 0; }));
                }
                ASSERT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
            }
        });
    }
    for (std::thread& t : all) {
        t.join();
    }
    EXPECT_TRUE(wait_until([&] { return threads() == before; }));
}

// ---- MEMORY_PRESSURE_WATCH ------------------------------------------------------------------------

TEST_F(outside_pressure_test, a_service_managers_fifo_becomes_low_and_then_neutral) {
    const std::string fifo = tree / "/fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", fifo.c_str(), 1), 0);
    open_host();
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1), 0); // read once: too late
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    EXPECT_FALSE(callback.wait_for(1, 300ms));
    const double ms = milliseconds_to_low([&] {
        const int fd = ::open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::write(fd, "x", 1), 1);
        ::close(fd);
    });
    std::printf("FIFO -> Low: %.1f ms\n", ms);
    EXPECT_GE(ms, 0);
    EXPECT_LE(ms, 250);
    ASSERT_TRUE(callback.wait_for(2, 10s));
    EXPECT_EQ(callback.told()[1], eMemoryAvailableNeutral);
    EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
}

TEST_F(outside_pressure_test, dev_null_turns_pressure_off_and_leaves_the_limits) {
    const std::string calm = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    tree.put("/proc/pressure/memory", calm);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1), 0);
    open_host();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    EXPECT_FALSE(callback.wait_for(1, 250ms));
    tree.put("/proc/pressure/memory", "some avg10=0 avg60=0 avg300=0 total=900000\n");
    EXPECT_FALSE(callback.wait_for(1, 400ms));
    put_group("/a/b", 600, 600);
    EXPECT_TRUE(callback.wait_for(1));
}

TEST_F(outside_pressure_test, F28_a_stall_in_a_file_without_trigger_becomes_low) {
    tree.put("/proc/pressure/memory", "some avg10=0 avg60=0 avg300=0 total=100\n");
    open_host();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    EXPECT_FALSE(callback.wait_for(1, 250ms));
    const double ms = milliseconds_to_low(
        [&] { tree.put("/proc/pressure/memory", "some avg10=0 avg60=0 avg300=0 total=300100\n"); });
    EXPECT_GE(ms, 0);
    EXPECT_LE(ms, 250);
}

} // namespace
} // namespace memreeve::test
