// SPDX-License-Identifier: MIT
// The places of the ledger: taken by an image, given back, none left behind.
#include "manager/ledger.hpp"

#include "budget/charge.hpp"
#include "prim/prim.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace {

using namespace memreeve;
using telemetry::image_end;
using telemetry::image_record;
using telemetry::image_state;

constexpr int nobody = 0x7fffff00; // above any pid_max
constexpr std::uint64_t start = 77;
constexpr manager::ledger_shape shape{64, 8, 4};

class places : public testing::Test {
protected:
    places() : memory(manager::ledger::size_for(shape) / sizeof(block)) {
        budget::tree::limits root;
        root.hard = byte_count{64} << 20;
        books.format(memory.data(), shape, root);
    }
    image_record& begin(int pid, const char* path = nullptr) {
        const auto r = books.begin_image(pid, start, false, path);
        EXPECT_TRUE(r.has_value());
        return **r;
    }
    void charge(image_record& r, page_count pages) {
        budget::charge held;
        ASSERT_TRUE(books.tree()
                        .take(static_cast<owner_id>(r.owner_account[0].load()), pages,
                              criticality::task, held)
                        .has_value());
        held.keep();
    }
    std::uint32_t accounts() {
        std::uint32_t n = 0;
        for (std::uint32_t i = 0; i < shape.accounts; ++i) {
            n += books.tree().at(static_cast<owner_id>(i)).state.load() != 0;
        }
        return n;
    }
    static image_state state_of(const image_record& r) {
        return static_cast<image_state>(r.state.load());
    }

    struct alignas(page_size) block {
        unsigned char bytes[page_size];
    };
    std::vector<block> memory;
    manager::ledger books;
};

TEST_F(places, an_image_has_its_name_from_the_moment_it_is_live) {
    EXPECT_STREQ(begin(nobody, "/usr/bin/mono-sgen").path, "/usr/bin/mono-sgen");
}

TEST_F(places, what_an_ended_image_said_is_not_its_followers) {
    image_record& r = begin(nobody, "/bin/a");
    std::strcpy(r.settings, "A=1");
    std::strcpy(r.note, "a sentence");
    std::strcpy(r.reason, "a reason");
    r.file_pages[1].store(12);
    r.heirs.store(3);
    r.last_fork_ns.store(1);
    books.end_image(r, image_end::exited);
    books.free_image(r);
    image_record& next = begin(nobody + 1);
    ASSERT_EQ(&next, &r);
    EXPECT_STREQ(next.path, "");
    EXPECT_STREQ(next.settings, "");
    EXPECT_STREQ(next.note, "");
    EXPECT_STREQ(next.reason, "");
    EXPECT_EQ(next.file_pages[1].load(), 0u);
    EXPECT_EQ(next.heirs.load(), 0u);
    EXPECT_FALSE(telemetry::is_awaited_by_heirs(next, 1));
}

TEST_F(places, who_is_turned_away_is_listed_with_the_reason_and_leaves_nothing) {
    const std::uint32_t before = accounts();
    image_record& r = begin(nobody, "/bin/a");
    charge(r, 100);
    EXPECT_EQ(books.tree().charged(owner_id::root), 100u);
    books.turn_away(r, "no room");
    EXPECT_EQ(state_of(r), image_state::ended);
    EXPECT_EQ(r.governed.load(), 0u);
    EXPECT_STREQ(r.reason, "no room");
    EXPECT_EQ(books.tree().charged(owner_id::root), 0u);
    EXPECT_EQ(accounts(), before);
    books.free_image(r);
    EXPECT_EQ(state_of(r), image_state::free);
    EXPECT_EQ(accounts(), before) << "closed once";
}

TEST_F(places, all_of_them_can_be_used_again_and_again) {
    const std::uint32_t before = accounts();
    for (int round = 0; round < 20; ++round) {
        std::vector<image_record*> taken;
        for (int i = 0; i < 4; ++i) {
            taken.push_back(&begin(nobody + i));
            charge(*taken.back(), 10);
        }
        EXPECT_FALSE(books.begin_image(nobody + 9, start, false).has_value());
        for (image_record* r : taken) {
            books.end_image(*r, image_end::killed);
            books.free_image(*r);
        }
        EXPECT_EQ(books.tree().charged(owner_id::root), 0u);
        EXPECT_EQ(accounts(), before);
    }
}

TEST_F(places, heirs_are_awaited_for_a_second) {
    image_record& r = begin(nobody);
    const std::uint64_t now = prim::now_ns();
    EXPECT_FALSE(telemetry::is_awaited_by_heirs(r, now));
    r.last_fork_ns.store(now);
    r.heirs.store(1);
    EXPECT_TRUE(telemetry::is_awaited_by_heirs(r, now));
    EXPECT_TRUE(telemetry::is_awaited_by_heirs(r, now + telemetry::heirs_patience_ns - 1));
    EXPECT_FALSE(telemetry::is_awaited_by_heirs(r, now + telemetry::heirs_patience_ns));
    r.heirs.store(0);
    EXPECT_FALSE(telemetry::is_awaited_by_heirs(r, now));
}

// Whoever asks runtimes to collect waits at its image's own word: rung at every live image.
TEST_F(places, askers_are_rung_for_another_limit_and_for_pressure) {
    image_record& first = begin(nobody);
    image_record& second = begin(nobody + 1);
    image_record& ended = begin(nobody + 2);
    books.end_image(ended, image_end::exited);
    books.header().flags.store(manager::flag_no_ask);
    static_cast<void>(books.change_limit(byte_count{32} << 20, byte_count{4} << 20));
    EXPECT_EQ(first.asker_bell.load(), 0u) << "nobody asks";
    books.header().flags.store(0);
    static_cast<void>(books.change_limit(byte_count{16} << 20, byte_count{4} << 20));
    EXPECT_EQ(books.header().limit_changes.load(), 2u);
    EXPECT_EQ(first.asker_bell.load(), 1u);
    EXPECT_EQ(second.asker_bell.load(), 1u);
    EXPECT_EQ(ended.asker_bell.load(), 0u);
    books.note_pressure();
    EXPECT_EQ(books.header().pressure_notices.load(), 1u);
    EXPECT_EQ(first.asker_bell.load(), 2u);
    EXPECT_EQ(second.asker_bell.load(), 2u);
}

TEST(asking, of_pythons_where_it_was_wished_and_of_no_unknown_one) {
    using telemetry::runtime_kind;
    EXPECT_TRUE(manager::is_asked(0, runtime_kind::mono));
    EXPECT_FALSE(manager::is_asked(0, runtime_kind::cpython));
    EXPECT_TRUE(manager::is_asked(manager::flag_ask, runtime_kind::cpython));
    EXPECT_FALSE(manager::is_asked(manager::flag_ask, runtime_kind::other));
    EXPECT_FALSE(manager::is_asked(manager::flag_no_ask, runtime_kind::mono));
}

} // namespace
