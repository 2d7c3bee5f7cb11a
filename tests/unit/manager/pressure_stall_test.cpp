// SPDX-License-Identifier: MIT
// Pressure stall information: the text, the trigger of the real kernel, the stand-in without one.
#include "manager/pressure_stall.hpp"

#include "support/system_tree.hpp"

#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace memreeve::manager {
namespace {

using test::system_tree;

TEST(read_stall_test, the_total_of_some) {
    const system_tree tree;
    const auto total = [&](const std::string& text) -> std::int64_t {
        tree.put("/p", text);
        std::uint64_t us = 0;
        return read_stall((tree / "/p").c_str(), &us) ? static_cast<std::int64_t>(us) : -1;
    };
    EXPECT_EQ(total("some avg10=1.53 avg60=0.00 avg300=0.00 total=123456789\n"
                    "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"),
              123456789);
    EXPECT_EQ(total("full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
                    "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"),
              7);
    for (const char* bad :
         {"", "some\n", "some avg10=0.00\n", "some total=\n", "some total= 5\n", "some total=-5\n",
          "some total=5x\n", "some total=5", "something total=5\n", "full total=5\n",
          "some subtotal=5\n", "some total=99999999999999999999999\n"}) {
        EXPECT_EQ(total(bad), -1) << bad;
    }
    std::uint64_t us = 0;
    EXPECT_FALSE(read_stall((tree / "/none").c_str(), &us));
}

constexpr std::uint64_t ms = 1'000'000;

TEST(growth_meter_test, enough_within_a_window) {
    growth_meter m(100);
    EXPECT_FALSE(m.update(1'000'000, 0)) << "what was before does not count";
    EXPECT_FALSE(m.update(1'000'099, 500 * ms));
    EXPECT_TRUE(m.update(1'000'100, 600 * ms));
    EXPECT_FALSE(m.update(1'000'150, 700 * ms));
    EXPECT_TRUE(m.update(1'000'250, 800 * ms));
}

TEST(growth_meter_test, slow_growth_is_no_pressure) {
    growth_meter m(100);
    for (std::uint64_t s = 0; s < 100; ++s) {
        EXPECT_FALSE(m.update(s * 50, s * 1000 * ms)) << s;
    }
}

TEST(growth_meter_test, another_count_begins_anew) {
    growth_meter m(100);
    EXPECT_FALSE(m.update(1000, 0));
    EXPECT_FALSE(m.update(5, 100 * ms)) << "smaller than before: another group";
    EXPECT_FALSE(m.update(104, 200 * ms));
    EXPECT_TRUE(m.update(105, 300 * ms));
    m.reset();
    EXPECT_FALSE(m.update(900, 400 * ms));
}

// ---- the kernel ---------------------------------------------------------------------------------

// Null, or why PSI cannot be used here.
const char* no_stall_information() {
    const int fd = ::open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return "skipped: /proc/pressure/memory cannot be opened for writing";
    }
    static const char trigger[] = "some 300000 2000000";
    const bool taken = ::write(fd, trigger, sizeof trigger) == sizeof trigger;
    ::close(fd);
    return taken ? nullptr : "skipped: this kernel takes no PSI trigger";
}

TEST(stall_trigger_test, a_window_of_one_second_or_else_of_two) {
    if (const char* why = no_stall_information()) {
        GTEST_SKIP() << why;
    }
    prim::watched file;
    ASSERT_EQ(prim::open_watched("/proc/pressure/memory", &file), 0);
    EXPECT_EQ(file.kind, prim::watched_kind::pressure_file);
    const prim::readiness without = prim::poll_watched(file);
    EXPECT_TRUE(without.has_ended) << "without a trigger the kernel reports an error";
    EXPECT_EQ(set_stall_trigger(file), 0);
    const prim::readiness r = prim::poll_watched(file);
    EXPECT_FALSE(r.has_ended);
    EXPECT_EQ(set_stall_trigger(file), EBUSY) << "one trigger for each open file";
    prim::close_watched(file);
    EXPECT_LT(file.fd, 0);
}

} // namespace
} // namespace memreeve::manager
