// SPDX-License-Identifier: MIT
// Decision 13: what the machine and the container have left, from directory trees that imitate
// /proc and /sys; at most 100 ms old, nothing read while fresh.
#include "manager/sensors.hpp"

#include "budget/charge.hpp"

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

constexpr byte_count mib = 1 << 20;

class sensors_test : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = ::testing::TempDir() + "sensors-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(root_); }
    void put(const std::string& path, const std::string& text) {
        const std::filesystem::path full = root_ + path;
        std::filesystem::create_directories(full.parent_path());
        std::ofstream(full) << text;
    }
    void put_meminfo(unsigned total_kib, unsigned available_kib) {
        put("/proc/meminfo",
            "MemTotal:       " + std::to_string(total_kib) + " kB\nMemFree: 1 kB\n" +
                "MemAvailable:   " + std::to_string(available_kib) + " kB\nBuffers: 7 kB\n");
    }
    sensors::sample read() {
        sensors s;
        s.open(root_.c_str(), true);
        return s.read();
    }
    std::string root_;
};

TEST_F(sensors_test, decision_13_machine_is_mem_available) {
    put_meminfo(8000, 2000);
    const auto s = read();
    EXPECT_EQ(s.machine.total, 8000u * 1024);
    EXPECT_EQ(s.machine.available, 2000u * 1024);
    EXPECT_FALSE(s.container.is_known());
}

TEST_F(sensors_test, decision_13_version_2_group) {
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/a/b/memory.current", "734003200\n");
    put("/sys/fs/cgroup/a/b/memory.stat",
        "anon 1\nfile 2\ninactive_file 104857600\nactive_file 3\n");
    const auto s = read();
    EXPECT_EQ(s.container.total, 1024 * mib);
    EXPECT_EQ(s.container.available, 424 * mib) << "file pages that can go at once are room";
}

TEST_F(sensors_test, decision_13_the_tightest_level_up_to_the_root_binds) {
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.high", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "100\n");
    put("/sys/fs/cgroup/a/memory.max", "524288000\n");
    put("/sys/fs/cgroup/a/memory.current", "419430400\n");
    put("/sys/fs/cgroup/memory.max", "1048576000\n");
    put("/sys/fs/cgroup/memory.current", "1000\n");
    const auto s = read();
    EXPECT_EQ(s.container.total, 500 * mib);
    EXPECT_EQ(s.container.available, 100 * mib);
}

TEST_F(sensors_test, memory_high_counts) {
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "1048576000\n");
    put("/sys/fs/cgroup/memory.high", "104857600\n");
    put("/sys/fs/cgroup/memory.current", "52428800\n");
    EXPECT_EQ(read().container.total, 100 * mib);
}

TEST_F(sensors_test, decision_13_version_1_group_and_its_no_limit) {
    put("/proc/self/cgroup", "11:cpu,cpuacct:/x\n7:memory:/docker/abc\n1:name=systemd:/y\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "1000\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "134217728\n");
    put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 999\ntotal_inactive_file 33554432\n");
    const auto s = read();
    EXPECT_EQ(s.container.total, 256 * mib);
    EXPECT_EQ(s.container.available, 160 * mib);
}

TEST_F(sensors_test, a_group_path_that_is_not_visible_falls_back_to_what_is) {
    put("/proc/self/cgroup", "0::/kubepods/burstable/pod1/container2\n");
    put("/sys/fs/cgroup/memory.max", "104857600\n");
    put("/sys/fs/cgroup/memory.current", "1048576\n");
    EXPECT_EQ(read().container.available, 99 * mib);
}

TEST_F(sensors_test, nothing_readable_means_not_known_never_zero) {
    const auto s = read();
    EXPECT_FALSE(s.machine.is_known());
    EXPECT_FALSE(s.container.is_known());
}

TEST_F(sensors_test, broken_files_mean_not_known) {
    put("/proc/meminfo", "MemTotal: lots\nMemAvailable:\n");
    put("/proc/self/cgroup", "nonsense\n0:\n:::\n");
    put("/sys/fs/cgroup/memory.max", "99999999999999999999999999999\n");
    put("/sys/fs/cgroup/memory.current", "-5\n");
    const auto s = read();
    EXPECT_FALSE(s.machine.is_known());
    EXPECT_FALSE(s.container.is_known());
}

TEST_F(sensors_test, long_lines_and_paths_are_survived) {
    put_meminfo(8000, 2000);
    put("/proc/self/cgroup", "0::/" + std::string(5000, 'x') + "\n");
    EXPECT_TRUE(read().machine.is_known());
}

TEST_F(sensors_test, decision_13_kept_for_100_ms) {
    put_meminfo(8000, 2000);
    sensors s;
    s.open(root_.c_str(), true);
    EXPECT_EQ(s.read().machine.available, 2000u * 1024);
    put_meminfo(8000, 3000);
    const auto again = s.read();
    std::this_thread::sleep_for(std::chrono::milliseconds(110));
    EXPECT_EQ(s.read().machine.available, 3000u * 1024);
    // Unless this thread lost the processor for 100 ms between the two reads.
    EXPECT_TRUE(again.machine.available == 2000u * 1024 || again.machine.available == 3000u * 1024);
}

TEST_F(sensors_test, the_total_is_the_smallest_limit_not_that_of_what_binds) {
    const auto total = [this] {
        sensors s;
        s.open(root_.c_str(), true);
        return s.total();
    };
    EXPECT_EQ(total(), 0u);
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "419430400\n"); // 400 MiB, nearly unused
    put("/sys/fs/cgroup/a/b/memory.current", "1048576\n");
    put("/sys/fs/cgroup/a/memory.max", "4194304000\n"); // 4000 MiB, nearly full: binds
    put("/sys/fs/cgroup/a/memory.current", "4183818240\n");
    EXPECT_EQ(read().container.total, 4000 * mib);
    EXPECT_EQ(total(), 400 * mib);
    put_meminfo(8 << 20, 1 << 20);
    EXPECT_EQ(total(), 400 * mib);
    put_meminfo(300 << 10, 100 << 10); // less RAM than the group may have
    EXPECT_EQ(total(), 300 * mib);
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/memory.max", "max\n");
    EXPECT_EQ(total(), 300 * mib);
}

TEST_F(sensors_test, version_1_hides_no_ancestors_limit) {
    put("/proc/self/cgroup", "7:memory:/x\n");
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/x/memory.stat", "hierarchical_memory_limit 104857600\n");
    sensors s;
    s.open(root_.c_str(), true);
    EXPECT_EQ(s.total(), 100 * mib);
}

TEST_F(sensors_test, switched_off_nothing_is_read) {
    put_meminfo(8000, 2000);
    sensors s;
    s.open(root_.c_str(), false);
    EXPECT_FALSE(s.read().machine.is_known());
}

// ---- budgets ------------------------------------------------------------------------------------

class budget_room_test : public ::testing::Test {
protected:
    static budget::tree::limits limit(byte_count hard, byte_count reserve,
                                      byte_count guaranteed = 0) {
        budget::tree::limits l;
        l.hard = hard;
        l.reserve = reserve;
        l.guaranteed = guaranteed;
        return l;
    }
    void take(owner_id who, byte_count size) {
        budget::charge c;
        ASSERT_TRUE(tree_.take(who, pages_of(size), criticality::process, c));
        c.keep();
    }
    std::unique_ptr<budget::account[]> accounts_ = std::make_unique<budget::account[]>(8);
    budget::tree tree_{accounts_.get(), 8, nullptr, 0};
};

TEST_F(budget_room_test, decision_13_limit_minus_reserve_minus_charged) {
    const auto root = tree_.open_account(owner_id::none, "root", limit(64 * mib, 8 * mib), 0);
    const auto leaf = tree_.open_account(*root, "leaf", {}, 0);
    take(*leaf, 14 * mib);
    const auto room = budget_room(tree_, *leaf);
    EXPECT_EQ(room.total, 56 * mib);
    EXPECT_EQ(room.available, 42 * mib);
    take(*leaf, 45 * mib); // beyond the task ceiling, within the limit
    EXPECT_EQ(budget_room(tree_, *leaf).available, 0u);
}

TEST_F(budget_room_test, decision_13_the_tightest_account_on_the_way_up) {
    const auto root = tree_.open_account(owner_id::none, "root", limit(64 * mib, 0), 0);
    const auto middle = tree_.open_account(*root, "middle", limit(16 * mib, 0), 0);
    const auto leaf = tree_.open_account(*middle, "leaf", {}, 0);
    const auto other = tree_.open_account(*root, "other", {}, 0);
    take(*leaf, 4 * mib);
    EXPECT_EQ(budget_room(tree_, *leaf).available, 12 * mib);
    take(*other, 56 * mib);
    EXPECT_EQ(budget_room(tree_, *leaf).available, 4 * mib);
    EXPECT_EQ(budget_room(tree_, *leaf).total, 64 * mib);
}

TEST_F(budget_room_test, decision_3_an_unused_guarantee_is_room_for_its_owner_alone) {
    const auto root = tree_.open_account(owner_id::none, "root", limit(64 * mib, 0), 0);
    const auto a = tree_.open_account(*root, "a", limit(~byte_count{0}, 0, 16 * mib), 0);
    const auto b = tree_.open_account(*root, "b", {}, 0);
    take(*b, 48 * mib);
    EXPECT_EQ(budget_room(tree_, *a).available, 16 * mib);
    EXPECT_EQ(budget_room(tree_, *b).available, 0u);
}

TEST_F(budget_room_test, no_limit_anywhere_is_not_known) {
    const auto root = tree_.open_account(owner_id::none, "root", {}, 0);
    EXPECT_FALSE(budget_room(tree_, *root).is_known());
}

} // namespace
} // namespace memreeve::manager
