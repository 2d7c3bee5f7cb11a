// SPDX-License-Identifier: MIT
// The checkers of host_world see what they are there to see: each defect is planted once.
#include "budget/charge.hpp"
#include "fault/host_world.hpp"

#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

class world_itself : public testing::Test {
protected:
    void SetUp() override {
        a = world.reserved(granule_size);
        world.commit_filled(a, 8);
        ASSERT_EQ(world.invariants(strictness::as_before), "");
        before = world.capture();
    }
    std::string changed(strictness how = strictness::as_before) {
        return world.difference(before, world.capture(), how);
    }
    void expect_complaint(const std::string& got, const char* wanted) {
        EXPECT_NE(got.find(wanted), std::string::npos) << "got: " << got << ", wanted: " << wanted;
    }

    host_world world;
    address a = 0;
    picture before;
};

TEST_F(world_itself, sees_nothing_where_nothing_is) { EXPECT_EQ(changed(), ""); }

TEST_F(world_itself, sees_foreign_protection) {
    mprotect(reinterpret_cast<void*>(a), page_size, PROT_READ);
    expect_complaint(world.invariants(strictness::degraded), "code 6, kernel anonymous 1");
    expect_complaint(changed(), "kernel");
}

TEST_F(world_itself, sees_a_page_opened_that_is_reserved) {
    const address large = world.reserved(4 << 20);
    mprotect(reinterpret_cast<void*>(large), page_size, PROT_READ | PROT_WRITE);
    expect_complaint(world.invariants(strictness::degraded), "code 1, kernel anonymous 3");
}

TEST_F(world_itself, sees_a_reserved_page_without_its_marker) {
    if (world.memory().space().open_pages(world.owner) == 0) {
        GTEST_SKIP() << "skipped: this kernel has no guard markers";
    }
    ASSERT_EQ(prim::remove_guard(a + bytes_of(12), page_size), 0);
    expect_complaint(world.invariants(strictness::degraded), "code 1, readable");
}

TEST_F(world_itself, sees_a_hole_in_a_reservation) {
    munmap(reinterpret_cast<void*>(a + bytes_of(12)), page_size);
    expect_complaint(world.invariants(strictness::degraded), "kernel nothing");
}

TEST_F(world_itself, sees_a_file_in_a_reservation) {
    const int fd = memfd_create("planted", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(fd, 4096), 0);
    mmap(reinterpret_cast<void*>(a), page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
         0);
    close(fd);
    expect_complaint(world.invariants(strictness::degraded), "kernel other");
}

TEST_F(world_itself, sees_an_open_page_of_an_arena) {
    world.release(a);
    ASSERT_EQ(world.invariants(strictness::as_before), "");
    mprotect(reinterpret_cast<void*>(a), page_size, PROT_READ);
    expect_complaint(world.invariants(strictness::as_before),
                     "in no reservation: anonymous, access 1");
}

TEST_F(world_itself, sees_changed_contents) {
    *reinterpret_cast<char*>(a + page_size + 4000) ^= 1;
    expect_complaint(changed(strictness::degraded), "contents");
}

TEST_F(world_itself, sees_another_state) {
    world.commit(a + bytes_of(9), 1);
    expect_complaint(changed(strictness::degraded), "pages:");
}

TEST_F(world_itself, sees_books_that_are_wrong) {
    budget::tree& tree = world.host->books().tree();
    budget::book_entries& entries = tree.entries_of(world.owner, shared_lane);
    for (auto* entry : {&entries.reserved, &entries.committed, &entries.writable, &entries.slack,
                        &tree.at(world.owner).mapped}) {
        entry->fetch_add(1);
        expect_complaint(world.invariants(strictness::as_before), "books of script");
        expect_complaint(changed(), "books of");
        entry->fetch_sub(1);
        EXPECT_EQ(world.invariants(strictness::as_before), "");
    }
}

TEST_F(world_itself, sees_a_charge_that_leaks) {
    budget::charge leaked;
    ASSERT_TRUE(world.host->books().tree().take(world.owner, 3, criticality::process, leaked));
    leaked.keep();
    expect_complaint(world.invariants(strictness::as_before), "charged");
    expect_complaint(changed(strictness::degraded), "charged");
}

TEST_F(world_itself, sees_a_broken_map) {
    vm::region_map& map = world.memory().space().map();
    map.at(world.at(a).index).living.fetch_sub(1);
    expect_complaint(world.invariants(strictness::as_before), "region map: `living`");
}

TEST_F(world_itself, sees_a_claim_left_behind) {
    const vm::found f = world.at(a);
    ASSERT_EQ(world.memory().space().map().claim(f.index, f.life, {a, a + page_size}),
              vm::claim_outcome::claimed);
    expect_complaint(world.invariants(strictness::as_before),
                     "region map: at rest no page is claimed");
}

TEST_F(world_itself, sees_an_operation_without_end) {
    telemetry::begin_operation(world.host->image());
    expect_complaint(world.invariants(strictness::as_before), "begun and not done");
}

} // namespace
} // namespace memreeve::test
