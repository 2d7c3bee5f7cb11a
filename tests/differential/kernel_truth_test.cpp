// SPDX-License-Identifier: MIT
// The witness itself: mappings, gaps and guard markers, asked quickly and the slow way.
#include "support/kernel_truth.hpp"

#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

constexpr std::uint64_t page = kernel_truth::page;

TEST(kernel_truth, sees_mappings_gaps_and_guard_markers) {
    void* p = mmap(nullptr, 16 * page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(p, MAP_FAILED);
    const auto a = reinterpret_cast<std::uint64_t>(p);
    ASSERT_EQ(mprotect(reinterpret_cast<void*>(a + 4 * page), page, PROT_READ), 0);
    ASSERT_EQ(munmap(reinterpret_cast<void*>(a + 8 * page), page), 0);
    constexpr int guard_install = 102;
    const bool guards = madvise(reinterpret_cast<void*>(a + page), 2 * page, guard_install) == 0 &&
                        madvise(reinterpret_cast<void*>(a + 12 * page), page, guard_install) == 0;
    for (const bool plain : {false, true}) {
        kernel_truth truth(plain);
        const unsigned expected[16] = {3,
                                       guards ? 0u : 3u,
                                       guards ? 0u : 3u,
                                       3,
                                       1,
                                       3,
                                       3,
                                       3,
                                       0,
                                       3,
                                       3,
                                       3,
                                       guards ? 0u : 3u,
                                       3,
                                       3,
                                       3};
        for (std::uint64_t from = 0; from < 16; ++from) {
            std::uint64_t at = a + from * page;
            for (const kernel_truth::piece& k : truth.look(at, a + 16 * page)) {
                EXPECT_EQ(k.begin, at);
                for (; at < k.end; at += page) {
                    const std::uint64_t i = (at - a) / page;
                    EXPECT_EQ(k.access, expected[i]) << "page " << i << (plain ? " plain" : "");
                    EXPECT_EQ(k.mapped, i != 8) << "page " << i;
                    EXPECT_EQ(k.anonymous, i != 8) << "page " << i;
                }
            }
            EXPECT_EQ(at, a + 16 * page);
        }
    }
    if (!guards) {
        std::printf("skipped: guard markers, which this kernel has not\n");
    }
    munmap(p, 16 * page);
}

} // namespace
} // namespace memreeve::test
