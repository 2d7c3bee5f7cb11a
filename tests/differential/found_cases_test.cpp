// SPDX-License-Identifier: MIT
// Lists of operations that once failed, or that the rules make interesting: as vm_differential and
// the fuzzer print them.
#include "play.hpp"

#include <gtest/gtest.h>

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

} // namespace
} // namespace memreeve::differential
