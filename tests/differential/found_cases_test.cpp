// SPDX-License-Identifier: MIT
// Lists of operations that once failed, or that the rules make interesting: as vm_differential and
// the fuzzer print them.
#include "play.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace memreeve::differential {
namespace {

TEST(found_cases, everything_once) {
    EXPECT_EQ(play({
                  {verb::alloc, window, 0x10000, 0x21000, 0x2000, 0x1},
                  {verb::alloc, window, 0x12000, 0x3000, 0x1000, 0x4},
                  {verb::fill, window, 0x13000, 0x0, 0x0, 0x77},
                  {verb::call, window, 0x13000, 0x0, 0x0, 0x0},
                  {verb::protect, window, 0x13000, 0x1000, 0x1, 0x40},
                  {verb::call, window, 0x13000, 0x0, 0x0, 0x0},
                  {verb::protect, window, 0x12000, 0x3000, 0x1, 0x104},
                  {verb::read, window, 0x13123, 0x0, 0x0, 0x0},
                  {verb::read, window, 0x13123, 0x0, 0x0, 0x0},
                  {verb::alloc, window, 0x13000, 0x1000, 0x80000, 0x4},
                  {verb::read, window, 0x13123, 0x0, 0x0, 0x0},
                  {verb::free, window, 0x13000, 0x1000, 0x4000, 0x0},
                  {verb::alloc, window, 0x12000, 0x3000, 0x1000, 0x2},
                  {verb::read, window, 0x13123, 0x0, 0x0, 0x0},
                  {verb::place, slot(3), 0x0, 0x5000, 0x3000, 0x4},
                  {verb::write, slot(3), 0x4fff, 0x0, 0x0, 0xc3},
                  {verb::read, slot(3), 0x5000, 0x0, 0x0, 0x0},
                  {verb::free, slot(3), 0x0, 0x0, 0x8000, 0x0},
                  {verb::read, slot(3), 0x4fff, 0x0, 0x0, 0x0},
                  {verb::invariants, absolute, 0x0, 0x0, 0x0, 0x0},
              }),
              "");
}

// Not of the implementation: the twin once named what it had released as still its own.
TEST(found_cases, where_a_released_reservation_lay_anybody_may_be) {
    test_host h;
    ASSERT_TRUE(h.good);
    twin t(h, 0, plant::none);
    // TOP_DOWN: lies in no arena.
    ASSERT_EQ(t.run({verb::place, slot(0), 0, 0x1000, 0x102000, 4}), "");
    void* base = reinterpret_cast<void*>(t.slot_bases()[0]);
    ASSERT_EQ(t.finish(), "");
    ASSERT_EQ(mmap(base, 0x1000, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
              base);
    EXPECT_EQ(t.run({verb::write, slot(0), 0, 0, 0, 1}), "");
    munmap(base, 0x1000);
}

} // namespace
} // namespace memreeve::differential
