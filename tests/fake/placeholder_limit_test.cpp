// SPDX-License-Identifier: MIT
// Placeholders at the kernel's mapping limit (rules PH, F3 and F4 of the reliability guide), and write
// watch on a system without it (decision 9): on the modelled kernel.
#include "fault/host_world.hpp"
#include "prim/fake/fake.hpp"

#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

namespace fake = prim::fake;

constexpr std::uint32_t make = w32::mem_reserve | w32::mem_reserve_placeholder;
constexpr std::uint32_t replace = w32::mem_reserve | w32::mem_commit | w32::mem_replace_placeholder;
constexpr std::uint32_t preserve = w32::mem_release | w32::mem_preserve_placeholder;

std::vector<kernel_line> model_lines() {
    std::vector<kernel_line> list;
    for (const fake::vma& v : fake::mappings()) {
        list.push_back({v.where, v.allowed, !v.has_file && !v.shared});
    }
    return list;
}

class placeholder_limit : public testing::Test {
protected:
    void SetUp() override {
        if (!fake::start({})) {
            GTEST_SKIP() << "the universe of the modelled kernel is not free here";
        }
        kernel_view::source = model_lines;
        world = std::make_unique<host_world>();
    }
    void TearDown() override {
        fake::stop();
        kernel_view::source = read_proc_maps;
    }
    outcome alloc2(address where, byte_count size, std::uint32_t type, std::uint32_t protect,
                   address* out = nullptr) {
        const auto r = world->memory().virtual_alloc2(world->owner, where, size, type, protect,
                                                      criticality::process);
        if (r && out != nullptr) {
            *out = *r;
        }
        return host_world::outcome_of(r);
    }

    std::unique_ptr<host_world> world;
};

TEST_F(placeholder_limit, PH3_PH4_pieces_at_the_mapping_limit) {
    host_world& w = *world;
    unsigned refused = 0;
    for (std::size_t more = 0; more < 8; ++more) {
        address a = 0;
        w.must(alloc2(0, granule_size, make, 1, &a), "placeholder");
        for (const page_count first : {page_count{2}, page_count{6}}) {
            w.must(w.free(a + bytes_of(first), bytes_of(2), preserve), "split");
        }
        w.must(alloc2(a + bytes_of(2), bytes_of(2), replace, 4), "replace");
        fake::settings s;
        s.mapping_limit = fake::mapping_count() + more;
        fake::set_limits(s);
        const picture before = w.capture();
        const outcome o = alloc2(a + bytes_of(6), bytes_of(2), replace, 4);
        EXPECT_EQ(w.invariants(strictness::as_before), "") << more << " more";
        if (!o.done) {
            ++refused;
            EXPECT_EQ(w.difference(before, w.capture(), strictness::as_before), "") << more;
            EXPECT_NE(w.at(a + bytes_of(6)).flags & vm::bare_piece, 0u);
        }
        // Letting go is never refused.
        EXPECT_TRUE(w.free(a + bytes_of(2), bytes_of(2), preserve).done) << more;
        EXPECT_EQ(w.invariants(strictness::degraded), "") << more;
        for (page_count first = 0; first < 10; first += 2) {
            EXPECT_TRUE(w.free(a + bytes_of(first), 0, w32::mem_release).done) << more << first;
        }
        fake::set_limits({});
        w.settle();
        EXPECT_EQ(w.at(a).flags & vm::placeholder, 0u) << "the area is gone";
        EXPECT_EQ(w.invariants(strictness::as_before), "") << more;
    }
    EXPECT_GT(refused, 0u);
    EXPECT_LT(refused, 8u);
}

TEST_F(placeholder_limit, decision_9_a_system_that_watches_no_writes) {
    address a = 0;
    EXPECT_FALSE(world->memory().space().can_watch());
    const outcome o = world->alloc(0, granule_size, w32::mem_reserve | w32::mem_write_watch, 4, &a);
    EXPECT_FALSE(o.done);
    EXPECT_NE(o.why.find("invalid argument"), std::string::npos) << o.why;
}

} // namespace
} // namespace memreeve::test
