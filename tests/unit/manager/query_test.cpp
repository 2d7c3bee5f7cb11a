// SPDX-License-Identifier: MIT
// VirtualQuery (rules Q) of a page where a reservation comes or goes while it is asked about: what
// is told is free or the reservation's, wherever in the query it happens (support/stepping.hpp).
#include "support/stepping.hpp"
#include "support/test_host.hpp"

#include <string>

namespace memreeve::manager {
namespace {

using test::page;
using test::stepping;

constexpr std::uint64_t base = 0x7ea0'0000'0000; // of no arena: placed on its own
constexpr std::uint64_t size = 40 * page;
constexpr std::uint64_t committed = 3 * page;
constexpr std::uint64_t instructions = 60; // evenly spread; each needs all before it

#if MEMREEVE_CAN_STEP

class query_beside_a_reservation : public test::host_test {
protected:
    void SetUp() override { open(options_for(64 * test::mib)); }

    void come() {
        void* got = nullptr;
        fine = fine && alloc(size, eProcessCritical, &got, at(base), MEM_RESERVE) == S_OK &&
               alloc(committed, eProcessCritical, &got, at(base + 2 * page), MEM_COMMIT) == S_OK;
    }
    void go() { fine = memory->VirtualFree(at(base), 0, MEM_RELEASE) == S_OK && fine; }
    static void* at(std::uint64_t a) { return reinterpret_cast<void*>(a); }

    // Empty when it is what a free page or that page of the reservation looks like, half made or
    // whole.
    std::string wrong(HRESULT hr, const MEMORY_BASIC_INFORMATION& i, std::uint64_t asked) {
        if (hr != S_OK) {
            return "status " + std::to_string(hr);
        }
        const auto end = asked + i.RegionSize;
        if (i.BaseAddress != at(asked) || i.RegionSize == 0 || i.RegionSize % page != 0) {
            return "the region: " + std::to_string(i.RegionSize) + " bytes";
        }
        if (i.State == MEM_FREE) {
            return i.AllocationBase == nullptr && i.Protect == PAGE_NOACCESS ? ""
                                                                             : "free, yet not free";
        }
        const bool is_committed = asked >= base + 2 * page && asked < base + 2 * page + committed;
        if (i.AllocationBase != at(base) || i.AllocationProtect != PAGE_READWRITE ||
            i.Type != MEM_PRIVATE) {
            return "not the reservation's";
        }
        if (i.State == MEM_COMMIT) {
            return is_committed && i.Protect == PAGE_READWRITE && end == base + 2 * page + committed
                       ? ""
                       : "not the page's";
        }
        const std::uint64_t next = asked < base + 2 * page ? base + 2 * page : base + size;
        return i.Protect == 0 && (end == next || end == base + size) ? "" : "not the run's";
    }

    // The reservation comes, or goes.
    void expect_answers(std::uint64_t asked, bool comes) {
        HRESULT hr = S_OK;
        MEMORY_BASIC_INFORMATION i{};
        SIZE_T got = 0;
        bool is_there = false;
        const auto make_it = [&](bool there) {
            if (there != is_there) {
                there ? come() : go();
            }
            is_there = there;
        };
        const std::uint64_t all = stepping::at_every_instruction(
            [&] { make_it(!comes); },
            [&] { hr = memory->VirtualQuery(at(asked), &i, sizeof i, &got); },
            [&] { make_it(comes); },
            [&](std::uint64_t n) { EXPECT_EQ(wrong(hr, i, asked), "") << "at instruction " << n; },
            instructions);
        EXPECT_GT(all, 50u);
        make_it(false);
        EXPECT_TRUE(fine);
    }

    bool fine = true;
};

TEST_F(query_beside_a_reservation, at_its_base) {
    expect_answers(base, true);
    expect_answers(base, false);
}

TEST_F(query_beside_a_reservation, at_a_page_that_is_committed) {
    expect_answers(base + 3 * page, true);
    expect_answers(base + 3 * page, false);
}

TEST_F(query_beside_a_reservation, at_a_page_that_is_reserved) {
    expect_answers(base + 9 * page, true);
    expect_answers(base + 9 * page, false);
}

#else

TEST(query_beside_a_reservation, at_every_instruction) {
    GTEST_SKIP() << "skipped: a reader cannot be stepped through here";
}

#endif

} // namespace
} // namespace memreeve::manager
