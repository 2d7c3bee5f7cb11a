// SPDX-License-Identifier: MIT
// Pressure from outside while system calls fail: each call of opening, looking and closing fails once
// in turn. Nothing crashes or hangs, no descriptor is left, and pressure is heard all the same.
#include "manager/pressure_watch.hpp"
#include "manager/sensors.hpp"
#include "prim/faulty/faulty.hpp"
#include "support/system_tree.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace memreeve::manager {
namespace {

namespace faulty = prim::faulty;
using test::system_tree;

constexpr std::uint64_t ms = 1'000'000;

std::size_t open_descriptors() {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++n;
    }
    return n;
}

class pressure_fault_test : public ::testing::Test {
protected:
    void SetUp() override {
        tree_.put_meminfo(16000, 8000);
        tree_.put("/proc/self/cgroup", "0::/a\n");
        tree_.put("/proc/self/mountinfo", "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        tree_.put("/sys/fs/cgroup/a/memory.max", "1000000\n");
        tree_.put("/sys/fs/cgroup/a/memory.current", "400000\n");
        tree_.put("/sys/fs/cgroup/a/memory.stat", "inactive_file 0\n");
        ASSERT_EQ(::mkfifo((tree_ / "/fifo").c_str(), 0600), 0);
    }
    void TearDown() override { faulty::disarm(); }
    void put_stall(int us) {
        tree_.put("/proc/pressure/memory", "some avg10=0 total=" + std::to_string(us) + "\n");
    }
    void press() {
        put_stall(1'000'000);
        const int fd = ::open((tree_ / "/fifo").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) {
            EXPECT_EQ(::write(fd, "xxxx", 4), 4);
            ::close(fd);
        }
    }
    system_tree tree_;
};

TEST_F(pressure_fault_test, each_call_of_watching_fails_once) {
    for (const std::string& named : {tree_ / "/fifo", std::string("/none")}) {
        for (const int error : {EINTR, ENOMEM}) {
            bool was_hit = true;
            long nth = 1;
            for (; was_hit && nth < 2000; ++nth) {
                SCOPED_TRACE(named + " call " + std::to_string(nth));
                put_stall(0);
                const std::size_t before = open_descriptors();
                control_groups groups;
                groups.open(tree_.root());
                pressure_watch w;
                w.wishes().set(named.c_str(), "Zm9v");
                std::uint64_t now = 1'000'000 * ms;
                faulty::arm({nth, error});
                w.open(tree_.root(), groups, now);
                bool is_told = false;
                for (int i = 0; i < 30; ++i) {
                    if (i == 15) { // after the review that repairs what failed before
                        press();
                    }
                    is_told = w.look(now += 100 * ms) || is_told;
                }
                w.close();
                was_hit = faulty::was_hit();
                faulty::disarm();
                EXPECT_EQ(open_descriptors(), before);
                EXPECT_TRUE(is_told);
            }
            EXPECT_GT(nth, 30) << named;
            EXPECT_LT(nth, 2000) << named;
        }
    }
}

TEST_F(pressure_fault_test, each_call_of_a_sample_fails_once) {
    bool was_hit = true;
    long nth = 1;
    for (; was_hit && nth < 500; ++nth) {
        const std::size_t before = open_descriptors();
        sensors s;
        s.open(tree_.root(), true);
        faulty::arm({nth, ENOMEM});
        const sensors::sample sample = s.read();
        was_hit = faulty::was_hit();
        faulty::disarm();
        EXPECT_EQ(open_descriptors(), before);
        // What could not be read is not known; what is told is the truth.
        EXPECT_TRUE(!sample.machine.is_known() || sample.machine.available == 8000u * 1024) << nth;
        EXPECT_TRUE(!sample.container.is_known() || sample.container.available == 600'000u) << nth;
    }
    EXPECT_GT(nth, 10);
    EXPECT_LT(nth, 500);
}

TEST_F(pressure_fault_test, a_window_of_one_second_that_is_refused_becomes_one_of_two) {
    prim::watched file;
    if (prim::open_watched("/proc/pressure/memory", &file) != 0) {
        GTEST_SKIP() << "skipped: /proc/pressure/memory cannot be opened for writing";
    }
    faulty::arm({1, EPERM, faulty::mode::once, SYS_write});
    EXPECT_EQ(set_stall_trigger(file), EPERM) << "only EINVAL is about the window";
    faulty::arm({1, EINVAL, faulty::mode::once, SYS_write});
    const int told = set_stall_trigger(file);
    EXPECT_EQ(faulty::count(), 2);
    faulty::disarm();
    prim::close_watched(file);
    if (told == EOPNOTSUPP) {
        GTEST_SKIP() << "skipped: this kernel takes no PSI trigger";
    }
    EXPECT_EQ(told, 0);
}

} // namespace
} // namespace memreeve::manager
