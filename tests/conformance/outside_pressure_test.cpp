// SPDX-License-Identifier: MIT
// Decision 13, F27, F28: what others do to memory reaches a runtime's callback and native subscribers,
// and nobody looks while nobody listens: no thread, no descriptor.
//
// Nothing is wrong with a test that loses the processor for a second: what is to happen is waited for
// with patience, what must not is counted in reads of files, and the one bound on an elapsed time is
// granted what the machine withheld. The group is at 68 %, where nothing better is on its way: below
// 60 % the runtime is told of High a second after it began to listen.
#include "support/file_reads.hpp"
#include "support/own_threads.hpp"
#include "support/system_tree.hpp"
#include "support/test_host.hpp"
#include "support/withheld_time.hpp"

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

constexpr std::chrono::milliseconds patience = 30s;

std::size_t threads() { return own_threads(); }
std::size_t descriptors() {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++n;
    }
    return n;
}

std::size_t descriptors_of(const std::string& file) {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code e;
        n += std::filesystem::read_symlink(entry.path(), e) == file ? 1U : 0U;
    }
    return n;
}

// A file that the watcher has open for a moment counts among the descriptors: once is enough.
bool wait_until(const std::function<bool()>& holds) {
    const auto end = clock::now() + patience;
    while (!holds()) {
        if (clock::now() >= end) {
            return false;
        }
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

constexpr char calm[] = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";

std::string bytes(std::uint64_t n) { return std::to_string(n) + "\n"; }

class outside_pressure_test : public host_test {
protected:
    void SetUp() override {
        std::thread([] {}).join(); // sanitizers start a thread of their own with the first
        ::unsetenv("MEMORY_PRESSURE_WATCH");
        ::unsetenv("MEMORY_PRESSURE_WRITE");
        tree.put_meminfo(16 << 20, 8 << 20);
        tree.put("/proc/self/cgroup", "0::/a/b\n");
        tree.put("/proc/self/mountinfo", "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        put_group("/a/b", 1024, 700);
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
    // Low comes within 250 ms after `change`, of which the machine has withheld none.
    void expect_low_in_time(withheld_time& withheld, const char* what,
                            const std::function<void()>& change) {
        const std::size_t told = callback.told().size();
        const auto withheld_before = withheld.so_far();
        change();
        const auto begin = clock::now();
        ASSERT_TRUE(callback.wait_for(told + 1, patience)) << what;
        ASSERT_EQ(callback.told()[told], eMemoryAvailableLow) << what;
        const auto took = callback.told_at(told) - begin;
        const auto granted = withheld.so_far() - withheld_before;
        using milliseconds = std::chrono::duration<double, std::milli>;
        std::printf("%s -> Low: %.1f ms, %.1f ms withheld\n", what, milliseconds(took).count(),
                    milliseconds(granted).count());
        EXPECT_LE(took - granted, 250ms) << what;
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
    withheld_time withheld;
    open_host();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    for (int round = 0; round < 5; ++round) {
        // At every moment relative to the notifier's own look.
        EXPECT_FALSE(callback.wait_for(callback.told().size() + 1,
                                       std::chrono::milliseconds(110 + round * 37)));
        expect_low_in_time(withheld, "lowered limit", [&] { put_group("/a/b", 740, 700); });
        const std::size_t told = callback.told().size();
        put_group("/a/b", 1024, 700);
        ASSERT_TRUE(callback.wait_for(told + 1, patience)) << "Neutral after a second";
        EXPECT_EQ(callback.told()[told], eMemoryAvailableNeutral);
    }
}

TEST_F(outside_pressure_test, decision_13_whichever_binds_is_told_of) {
    open_host();
    heard native;
    mrv_subscription* subscription = nullptr;
    ASSERT_EQ(mrv_host_subscribe(host, &heard::hear, &native, &subscription), MRV_OK);
    put_group("/a", 720, 700); // the ancestor
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_LOW; }));
    EXPECT_EQ(native.available, 20 * mib);
    put_group("/a", 6200, 700);
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_NEUTRAL; }));
    tree.put_meminfo(16 << 20, 300 << 10); // the machine: 300 MiB, less than the group's 324
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_LOW; }));
    EXPECT_EQ(native.available, 300 * mib);
    tree.remove("/proc/meminfo"); // not known any more: binds nothing
    ASSERT_TRUE(wait_until([&] { return native.last == MRV_MEMORY_NEUTRAL; }));
    EXPECT_EQ(mrv_host_unsubscribe(subscription), MRV_OK);
}

TEST_F(outside_pressure_test, the_budget_alone_does_not_look_outside) {
    mrv_host_options o = options_for(64 * mib, 8 * mib);
    o.system_root = tree.root();
    tree.put("/proc/pressure/memory", calm);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", "/proc/pressure/memory", 1), 0);
    file_reads of_machine(tree / "/proc");
    file_reads of_stalls(tree / "/proc/pressure");
    file_reads of_group(tree / "/sys/fs/cgroup/a/b");
    open(o);
    void* p = nullptr;
    ASSERT_EQ(alloc(40 * mib, eProcessCritical, &p), S_OK); // 71 %: nothing better on its way
    const std::size_t before = descriptors();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    put_group("/a/b", 700, 700);
    EXPECT_FALSE(callback.wait_for(1, 400ms));
    EXPECT_EQ(descriptors(), before);
    ASSERT_EQ(alloc(12 * mib, eProcessCritical, &p), S_OK);
    ASSERT_TRUE(callback.wait_for(1, patience)) << "the notifier was there all the time";
    EXPECT_EQ(of_machine.of("meminfo"), 0u);
    EXPECT_EQ(of_stalls.of("memory"), 0u);
    EXPECT_EQ(of_group.of("memory.max") + of_group.of("memory.current"), 0u);
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
    put_group("/a/b", 700, 700);
    ASSERT_TRUE(callback.wait_for(1, patience));
    EXPECT_TRUE(wait_until([&] { return threads() == before; }));
    // And a new one starts it again.
    ends_itself = false;
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_TRUE(callback.wait_for(2, patience)) << "still low";
    EXPECT_EQ(threads(), before + 1);
    EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
}

#ifndef __SANITIZE_THREAD__ // which allows no thread in a child of a process with threads
TEST_F(outside_pressure_test, a_child_of_fork_has_neither_thread_nor_the_parents_descriptor) {
    const std::string fifo = tree / "/fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", fifo.c_str(), 1), 0);
    open_host();
    heard native;
    mrv_subscription* subscription = nullptr;
    ASSERT_EQ(mrv_host_subscribe(host, &heard::hear, &native, &subscription), MRV_OK);
    ASSERT_TRUE(wait_until([&] { return descriptors_of(fifo) == 1; }));
    const pid_t child = ::fork();
    if (child == 0) {
        heard own;
        mrv_subscription* again = nullptr;
        int failed = threads() == 1 ? 0 : 1;
        failed |= mrv_host_subscribe(host, &heard::hear, &own, &again) == MRV_OK ? 0 : 2;
        put_group("/a/b", 700, 700);
        failed |= wait_until([&] { return own.last == MRV_MEMORY_LOW; }) ? 0 : 4;
        // The FIFO's alone are counted: what the parent's thread reads at the fork is open here for good.
        failed |= wait_until([&] { return descriptors_of(fifo) == 1; })
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
    put_group("/a/b", 700, 700);
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
    withheld_time withheld;
    open_host();
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1), 0); // read once: too late
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    EXPECT_FALSE(callback.wait_for(1, 300ms));
    int fd = -1; // to be had when somebody reads it
    ASSERT_TRUE(wait_until([&] {
        fd = ::open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        return fd >= 0;
    }));
    expect_low_in_time(withheld, "FIFO", [&] {
        EXPECT_EQ(::write(fd, "x", 1), 1);
        ::close(fd);
    });
    ASSERT_TRUE(callback.wait_for(2, patience));
    EXPECT_EQ(callback.told()[1], eMemoryAvailableNeutral);
    EXPECT_EQ(memory->RegisterMemoryNotificationCallback(nullptr), S_OK);
}

TEST_F(outside_pressure_test, dev_null_turns_pressure_off_and_leaves_the_limits) {
    tree.put("/proc/pressure/memory", calm);
    ASSERT_EQ(::setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1), 0);
    file_reads of_stalls(tree / "/proc/pressure");
    file_reads of_group(tree / "/sys/fs/cgroup/a/b");
    open_host();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_TRUE(of_group.wait_for("memory.max", 2));
    tree.put("/proc/pressure/memory", "some avg10=0 avg60=0 avg300=0 total=900000\n");
    ASSERT_TRUE(of_group.wait_for("memory.max", 4));
    EXPECT_EQ(of_stalls.of("memory"), 0u);
    EXPECT_TRUE(callback.told().empty());
    put_group("/a/b", 700, 700);
    ASSERT_TRUE(callback.wait_for(1, patience));
    EXPECT_EQ(callback.told()[0], eMemoryAvailableLow);
}

TEST_F(outside_pressure_test, F28_a_stall_in_a_file_without_trigger_becomes_low) {
    tree.put("/proc/pressure/memory", "some avg10=0 avg60=0 avg300=0 total=100\n");
    withheld_time withheld;
    file_reads of_stalls(tree / "/proc/pressure");
    open_host();
    ASSERT_EQ(memory->RegisterMemoryNotificationCallback(&callback), S_OK);
    ASSERT_TRUE(of_stalls.wait_for("memory", 3)); // it knows what there was before
    EXPECT_TRUE(callback.told().empty());
    expect_low_in_time(withheld, "stall", [&] {
        tree.put("/proc/pressure/memory", "some avg10=0 avg60=0 avg300=0 total=300100\n");
    });
}

} // namespace
} // namespace memreeve::test
