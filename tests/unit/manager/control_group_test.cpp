// SPDX-License-Identifier: MIT
// Decision 13, F27: what bounds memory, from directory trees for version 1, version 2, both, none and
// garbage. Each row is asked through a host, so that load and available are what a runtime is told.
#include "manager/control_group.hpp"

#include "manager/sensors.hpp"
#include "support/system_tree.hpp"
#include "support/test_host.hpp"

#include <map>
#include <thread>

namespace memreeve::manager {
namespace {

using test::mib;
using test::system_tree;

struct file {
    const char* path;
    std::string text;
};

// What the machine has in every row: 16 GiB, 8 of them available.
constexpr std::uint64_t machine_total = 16384 * mib;
constexpr std::uint64_t machine_available = 8192 * mib;
constexpr const char* unlimited_1 = "9223372036854771712\n";

struct row {
    const char* name;
    std::vector<file> files;
    std::uint64_t limit = 0; // 0: no group binds
    std::uint64_t available = 0;
    std::vector<const char*> directories = {};
};

std::string bytes(std::uint64_t n) { return std::to_string(n) + "\n"; }

constexpr const char* v2_mount =
    "24 1 0:22 / /proc rw,nosuid - proc proc rw\n"
    "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* v1_mounts =
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:15 - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n";
constexpr const char* hybrid_mounts =
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

const std::vector<row>& rows() {
    static const std::vector<row> all = {
        // ---- version 2
        {"v2",
         {{"/proc/self/cgroup", "0::/a/b\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/b/memory.max", bytes(1024 * mib)},
          {"/sys/fs/cgroup/a/b/memory.high", "max\n"},
          {"/sys/fs/cgroup/a/b/memory.current", bytes(700 * mib)},
          {"/sys/fs/cgroup/a/b/memory.stat",
           "anon 1\nfile 2\ninactive_file " + bytes(100 * mib) + "active_file 3\n"}},
         1024 * mib,
         424 * mib},
        {"v2_high_below_max",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", bytes(1024 * mib)},
          {"/sys/fs/cgroup/a/memory.high", bytes(512 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(500 * mib)}},
         512 * mib,
         12 * mib},
        {"v2_nested_an_ancestor_is_tightest",
         {{"/proc/self/cgroup", "0::/a/b/c\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/b/c/memory.max", bytes(400 * mib)},
          {"/sys/fs/cgroup/a/b/c/memory.current", bytes(100 * mib)},
          {"/sys/fs/cgroup/a/b/memory.max", bytes(600 * mib)},
          {"/sys/fs/cgroup/a/b/memory.current", bytes(550 * mib)},
          {"/sys/fs/cgroup/a/memory.max", "max\n"},
          {"/sys/fs/cgroup/a/memory.current", bytes(5000 * mib)}},
         600 * mib,
         50 * mib},
        {"v2_larger_limit_is_fuller_and_the_top_binds",
         {{"/proc/self/cgroup", "0::/a/b\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/b/memory.max", bytes(400 * mib)},
          {"/sys/fs/cgroup/a/b/memory.current", bytes(100 * mib)},
          {"/sys/fs/cgroup/memory.max", bytes(4000 * mib)},
          {"/sys/fs/cgroup/memory.current", bytes(3990 * mib)}},
         4000 * mib,
         10 * mib},
        {"v2_usage_above_the_limit",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", bytes(100 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(150 * mib)}},
         100 * mib,
         0},
        {"v2_more_cache_than_usage",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", bytes(100 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(50 * mib)},
          {"/sys/fs/cgroup/a/memory.stat", "inactive_file " + bytes(60 * mib)}},
         100 * mib,
         100 * mib},
        {"v2_limit_of_nothing",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", "0\n"},
          {"/sys/fs/cgroup/a/memory.current", bytes(50 * mib)}},
         1,
         0},
        {"v2_no_limit_anywhere",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", "max\n"},
          {"/sys/fs/cgroup/a/memory.current", bytes(50 * mib)}}},
        {"v2_mounted_elsewhere_with_a_blank_in_the_name",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", "35 24 0:30 / /run/my\\040groups rw - cgroup2 none rw\n"},
          {"/run/my groups/a/memory.max", bytes(64 * mib)},
          {"/run/my groups/a/memory.current", bytes(mib)},
          {"/sys/fs/cgroup/a/memory.max", bytes(7 * mib)}, // not what is mounted
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}},
         64 * mib,
         63 * mib},
        {"v2_without_mountinfo_the_usual_place",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/sys/fs/cgroup/a/memory.max", bytes(64 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}},
         64 * mib,
         63 * mib},
        {"v2_not_mounted_is_not_assumed",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", "24 1 0:22 / /proc rw,nosuid - proc proc rw\n"},
          {"/sys/fs/cgroup/a/memory.max", bytes(64 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}}},
        // ---- namespaces, bind mounts
        {"v2_namespace_root",
         {{"/proc/self/cgroup", "0::/\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/memory.max", bytes(200 * mib)},
          {"/sys/fs/cgroup/memory.current", bytes(20 * mib)}},
         200 * mib,
         180 * mib},
        {"v2_the_mount_shows_a_group_and_paths_are_the_hosts",
         {{"/proc/self/cgroup", "0::/kubepods/pod1/c2/inner\n"},
          {"/proc/self/mountinfo",
           "35 24 0:30 /kubepods/pod1/c2 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
          {"/sys/fs/cgroup/inner/memory.max", "max\n"},
          {"/sys/fs/cgroup/inner/memory.current", bytes(mib)},
          {"/sys/fs/cgroup/memory.max", bytes(200 * mib)},
          {"/sys/fs/cgroup/memory.current", bytes(20 * mib)}},
         200 * mib,
         180 * mib},
        {"v2_a_name_that_only_begins_alike_is_not_below",
         {{"/proc/self/cgroup", "0::/pod12/x\n"},
          {"/proc/self/mountinfo", "35 24 0:30 /pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
          {"/sys/fs/cgroup2/x/memory.max", bytes(7 * mib)},
          {"/sys/fs/cgroup2/x/memory.current", bytes(mib)},
          {"/sys/fs/cgroup/memory.max", bytes(200 * mib)},
          {"/sys/fs/cgroup/memory.current", bytes(20 * mib)}},
         200 * mib,
         180 * mib},
        {"v2_namespace_below_the_mount",
         {{"/proc/self/cgroup", "0::/\n"},
          {"/proc/self/mountinfo", "35 24 0:30 /.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
          {"/sys/fs/cgroup/memory.max", bytes(200 * mib)},
          {"/sys/fs/cgroup/memory.current", bytes(20 * mib)}},
         200 * mib,
         180 * mib},
        {"v2_a_group_outside_of_the_namespace_is_not_guessed",
         {{"/proc/self/cgroup", "0::/../other\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/memory.max", bytes(200 * mib)},
          {"/sys/fs/cgroup/memory.current", bytes(20 * mib)},
          {"/sys/fs/other/memory.max", bytes(7 * mib)},
          {"/sys/fs/other/memory.current", bytes(mib)}}},
        {"v2_mounted_twice_the_one_that_shows_more",
         {{"/proc/self/cgroup", "0::/a/b\n"},
          {"/proc/self/mountinfo",
           std::string("30 24 0:30 /a/b /mnt/part rw - cgroup2 cgroup2 rw\n") + v2_mount +
               "36 24 0:30 /other /mnt/other rw - cgroup2 cgroup2 rw\n"},
          {"/mnt/part/memory.max", "max\n"},
          {"/mnt/part/memory.current", bytes(mib)},
          {"/sys/fs/cgroup/a/b/memory.max", "max\n"},
          {"/sys/fs/cgroup/a/b/memory.current", bytes(mib)},
          {"/sys/fs/cgroup/a/memory.max", bytes(100 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(40 * mib)}},
         100 * mib,
         60 * mib},
        {"v2_a_removed_group_leaves_its_parents",
         {{"/proc/self/cgroup", "0::/a/b (deleted)\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", bytes(100 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(40 * mib)}},
         100 * mib,
         60 * mib},
        // ---- version 1
        {"v1",
         {{"/proc/self/cgroup", "11:cpu,cpuacct:/x\n7:memory:/docker/abc\n1:name=systemd:/y\n"},
          {"/proc/self/mountinfo", v1_mounts},
          {"/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", bytes(256 * mib)},
          {"/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", bytes(128 * mib)},
          {"/sys/fs/cgroup/memory/docker/abc/memory.stat",
           "cache 5\ninactive_file 999\nhierarchical_memory_limit " + bytes(256 * mib) +
               "total_inactive_file " + bytes(32 * mib)},
          {"/sys/fs/cgroup/memory/memory.limit_in_bytes", unlimited_1},
          {"/sys/fs/cgroup/memory/memory.usage_in_bytes", bytes(9000 * mib)}},
         256 * mib,
         160 * mib},
        {"v1_an_ancestor_binds",
         {{"/proc/self/cgroup", "7:memory:/a/b\n"},
          {"/proc/self/mountinfo", v1_mounts},
          {"/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", unlimited_1},
          {"/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", bytes(10 * mib)},
          {"/sys/fs/cgroup/memory/a/memory.limit_in_bytes", bytes(100 * mib)},
          {"/sys/fs/cgroup/memory/a/memory.usage_in_bytes", bytes(70 * mib)}},
         100 * mib,
         30 * mib},
        {"v1_a_hidden_ancestor_binds_by_the_hierarchical_limit",
         {{"/proc/self/cgroup", "7:memory:/docker/abc\n"},
          {"/proc/self/mountinfo",
           "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"},
          {"/sys/fs/cgroup/memory/memory.limit_in_bytes", unlimited_1},
          {"/sys/fs/cgroup/memory/memory.usage_in_bytes", bytes(40 * mib)},
          {"/sys/fs/cgroup/memory/memory.stat",
           "hierarchical_memory_limit " + bytes(100 * mib) + "total_inactive_file 0\n"}},
         100 * mib,
         60 * mib},
        {"v1_controllers_mounted_together",
         {{"/proc/self/cgroup", "4:cpu,memory,pids:/x\n"},
          {"/proc/self/mountinfo",
           "35 31 0:32 / /sys/fs/cgroup/all rw - cgroup cgroup rw,cpu,memory,pids\n"},
          {"/sys/fs/cgroup/all/x/memory.limit_in_bytes", bytes(100 * mib)},
          {"/sys/fs/cgroup/all/x/memory.usage_in_bytes", bytes(40 * mib)}},
         100 * mib,
         60 * mib},
        {"v1_unlimited",
         {{"/proc/self/cgroup", "4:memory:/x\n"},
          {"/proc/self/mountinfo", v1_mounts},
          {"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", unlimited_1},
          {"/sys/fs/cgroup/memory/x/memory.usage_in_bytes", bytes(mib)},
          {"/sys/fs/cgroup/memory/x/memory.stat",
           std::string("hierarchical_memory_limit ") + unlimited_1 + "total_inactive_file 0\n"}}},
        {"v1_unlimited_on_pages_of_64_kib",
         {{"/proc/self/cgroup", "4:memory:/x\n"},
          {"/proc/self/mountinfo", v1_mounts},
          {"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854710272\n"},
          {"/sys/fs/cgroup/memory/x/memory.usage_in_bytes", bytes(mib)}}},
        {"v1_other_controllers_do_not_count",
         {{"/proc/self/cgroup", "4:memorygauge,hugetlb:/x\n5:cpu:/x\n"},
          {"/proc/self/mountinfo", v1_mounts},
          {"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", bytes(mib)},
          {"/sys/fs/cgroup/memory/x/memory.usage_in_bytes", bytes(mib)}}},
        // ---- both
        {"hybrid_memory_is_version_1",
         {{"/proc/self/cgroup", "4:memory:/x\n1:name=systemd:/y\n0::/y\n"},
          {"/proc/self/mountinfo", hybrid_mounts},
          {"/sys/fs/cgroup/unified/y/cgroup.controllers", "hugetlb\n"},
          {"/sys/fs/cgroup/unified/y/memory.pressure",
           "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"},
          {"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", bytes(100 * mib)},
          {"/sys/fs/cgroup/memory/x/memory.usage_in_bytes", bytes(40 * mib)}},
         100 * mib,
         60 * mib},
        {"hybrid_without_mountinfo",
         {{"/proc/self/cgroup", "4:memory:/x\n0::/y\n"},
          {"/sys/fs/cgroup/unified/y/cgroup.controllers", "\n"},
          {"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", bytes(100 * mib)},
          {"/sys/fs/cgroup/memory/x/memory.usage_in_bytes", bytes(40 * mib)}},
         100 * mib,
         60 * mib},
        // ---- absent
        {"absent", {}},
        {"absent_mounts", {{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", ""}}},
        {"absent_group_files",
         {{"/proc/self/cgroup", "4:memory:/x\n0::/x\n"}, {"/proc/self/mountinfo", hybrid_mounts}}},
        {"absent_usage",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", bytes(100 * mib)}}},
        // ---- garbage
        {"garbage_cgroup_file",
         {{"/proc/self/cgroup", "nonsense\n0:\n:::\n0::a/b\n\n7:memory\n7:memory:a\n0::"},
          {"/sys/fs/cgroup/memory.max", bytes(mib)},
          {"/sys/fs/cgroup/memory.current", bytes(mib)}}},
        {"garbage_cgroup_line_cut_off",
         {{"/proc/self/cgroup", "0::/a"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", bytes(mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}}},
        {"garbage_cgroup_line_too_long",
         {{"/proc/self/cgroup", "0::/" + std::string(5000, 'x') + "\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/memory.max", bytes(mib)},
          {"/sys/fs/cgroup/memory.current", bytes(mib)}}},
        {"garbage_mountinfo",
         {{"/proc/self/cgroup", "0::/a\n4:memory:/a\n"},
          {"/proc/self/mountinfo", "\n - cgroup2\n1 2 3 4 5 6\n35 24 0:30 / /x - cgroup2\n"
                                   "35 24 0:30 / /x rw - cgroup cgroup2 cgroup\n35 24 0:30 /"},
          {"/x/a/memory.max", bytes(mib)},
          {"/x/a/memory.current", bytes(mib)}}},
        {"garbage_empty_files",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", ""},
          {"/sys/fs/cgroup/a/memory.high", ""},
          {"/sys/fs/cgroup/a/memory.current", ""}}},
        {"garbage_negative_limit",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", "-1\n"},
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}}},
        {"garbage_letters_in_the_limit",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", "100M\n"},
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}}},
        {"garbage_limit_cut_off",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", "1048576"}, // of 1048576000: its end is missing
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}}},
        {"garbage_limit_beyond_64_bits",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", "99999999999999999999999999999\n"},
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}}},
        {"garbage_usage_binds_nothing",
         {{"/proc/self/cgroup", "0::/a/b\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/b/memory.max", bytes(100 * mib)},
          {"/sys/fs/cgroup/a/b/memory.current", "-5\n"},
          {"/sys/fs/cgroup/a/memory.max", bytes(300 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(mib)}},
         300 * mib,
         299 * mib},
        {"garbage_stat_is_no_cache",
         {{"/proc/self/cgroup", "0::/a\n"},
          {"/proc/self/mountinfo", v2_mount},
          {"/sys/fs/cgroup/a/memory.max", bytes(100 * mib)},
          {"/sys/fs/cgroup/a/memory.current", bytes(40 * mib)},
          {"/sys/fs/cgroup/a/memory.stat", "inactive_file\ninactive_file -3\ninactive_file 9x\n"}},
         100 * mib,
         60 * mib},
        {"garbage_directories_where_files_are_expected",
         {{"/proc/self/mountinfo", v2_mount}, {"/proc/self/cgroup", "0::/a\n"}},
         0,
         0,
         {"/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/a/memory.current"}},
    };
    return all;
}

// Where it is not the limit of what binds.
std::uint64_t smallest_limit_of(const row& r) {
    static const std::map<std::string, std::uint64_t> others = {
        {"v2_nested_an_ancestor_is_tightest", 400 * mib},
        {"v2_larger_limit_is_fuller_and_the_top_binds", 400 * mib},
        {"absent_usage", 100 * mib},
        {"garbage_usage_binds_nothing", 100 * mib},
    };
    const auto other = others.find(r.name);
    return other != others.end() ? other->second : r.limit;
}

class control_group_test : public ::testing::TestWithParam<std::size_t> {};

TEST_P(control_group_test, decision_13_limit_available_and_load) {
    const row& r = rows()[GetParam()];
    SCOPED_TRACE(r.name);
    const system_tree tree;
    tree.put_meminfo(machine_total / 1024, machine_available / 1024);
    for (const file& f : r.files) {
        tree.put(f.path, f.text);
    }
    for (const char* directory : r.directories) {
        tree.put_directory(directory);
    }
    control_groups groups;
    groups.open(tree.root());
    EXPECT_EQ(groups.limit(), smallest_limit_of(r));
    for (int again = 0; again < 2; ++again) { // with the mounts found now, and known already
        const pressure::room room = groups.room();
        EXPECT_EQ(room.total, r.limit);
        EXPECT_EQ(room.available, r.available);
    }
    mrv_host_options o{};
    o.size = sizeof o;
    o.system_root = tree.root();
    mrv_host* host = nullptr;
    ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
    mrv_owner* owner = nullptr;
    ASSERT_EQ(mrv_owner_create(host, nullptr, nullptr, &owner), MRV_OK);
    {
        test::com_ptr<IHostMemoryManager> memory;
        ASSERT_EQ(mrv_owner_memory_manager(owner, memory.out()), MRV_OK);
        DWORD load = 999;
        SIZE_T available = 999;
        ASSERT_EQ(memory->GetMemoryLoad(&load, &available), S_OK);
        const bool group_binds = r.limit != 0 && r.available < machine_available;
        EXPECT_EQ(available, group_binds ? r.available : machine_available);
        EXPECT_EQ(load, group_binds ? (r.limit - r.available) * 100 / r.limit : 50);
    }
    EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
}

INSTANTIATE_TEST_SUITE_P(trees, control_group_test, ::testing::Range<std::size_t>(0, rows().size()),
                         [](const auto& p) { return std::string(rows()[p.param].name); });

// ---- while it runs ------------------------------------------------------------------------------

TEST(control_group_change_test, F27_limit_usage_and_membership_may_change) {
    const system_tree tree;
    tree.put("/proc/self/cgroup", "0::/a\n");
    tree.put("/proc/self/mountinfo", v2_mount);
    tree.put("/sys/fs/cgroup/a/memory.max", bytes(100 * mib));
    tree.put("/sys/fs/cgroup/a/memory.current", bytes(40 * mib));
    tree.put("/sys/fs/cgroup/b/memory.max", bytes(70 * mib));
    tree.put("/sys/fs/cgroup/b/memory.current", bytes(mib));
    control_groups groups;
    groups.open(tree.root());
    EXPECT_EQ(groups.room().available, 60 * mib);
    tree.put("/sys/fs/cgroup/a/memory.max", bytes(50 * mib)); // lowered
    EXPECT_EQ(groups.room().total, 50 * mib);
    EXPECT_EQ(groups.room().available, 10 * mib);
    tree.put("/sys/fs/cgroup/a/memory.max", bytes(30 * mib)); // below what is used
    EXPECT_EQ(groups.room().available, 0u);
    tree.put("/sys/fs/cgroup/a/memory.max", "max\n"); // lifted
    EXPECT_FALSE(groups.room().is_known());
    tree.put("/proc/self/cgroup", "0::/b\n"); // moved
    EXPECT_EQ(groups.room().total, 70 * mib);
    tree.remove("/sys/fs/cgroup/b"); // gone
    EXPECT_FALSE(groups.room().is_known());
}

TEST(control_group_change_test, the_own_directory_and_how_often_limits_were_met) {
    const system_tree tree;
    tree.put("/proc/self/mountinfo", v2_mount);
    control_groups groups;
    groups.open(tree.root());
    file_path own("");
    std::uint64_t hits = 99;
    EXPECT_FALSE(groups.own_directory(own));
    EXPECT_FALSE(groups.limit_hits(&hits));
    tree.put("/proc/self/cgroup", "0::/a/b\n");
    ASSERT_TRUE(groups.own_directory(own));
    EXPECT_EQ(own.text(), tree / "/sys/fs/cgroup/a/b");
    EXPECT_FALSE(groups.limit_hits(&hits));
    tree.put("/sys/fs/cgroup/a/b/memory.events", "low 900\nhigh 1\nmax 2\noom 3\noom_kill 900\n");
    tree.put("/sys/fs/cgroup/a/memory.events", "low 900\nhigh 10\nmax 20\noom 30\noom_kill 900\n");
    ASSERT_TRUE(groups.limit_hits(&hits));
    EXPECT_EQ(hits, 66u);
}

TEST(control_group_change_test, many_threads_may_ask_for_the_first_time_at_once) {
    const system_tree tree;
    tree.put("/proc/self/cgroup", "0::/a\n");
    tree.put("/proc/self/mountinfo", v2_mount);
    tree.put("/sys/fs/cgroup/a/memory.max", bytes(100 * mib));
    tree.put("/sys/fs/cgroup/a/memory.current", bytes(40 * mib));
    for (int round = 0; round < 20; ++round) {
        control_groups groups;
        groups.open(tree.root());
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&groups] { EXPECT_EQ(groups.room().available, 60 * mib); });
        }
        for (std::thread& t : threads) {
            t.join();
        }
    }
}

} // namespace
} // namespace memreeve::manager
