// SPDX-License-Identifier: MIT
// Decision 25: stacks by their end; what overlaps a new one is gone; a crowd drives out, never fills.
#include "telemetry/stack_table.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace {

using namespace memreeve;
using telemetry::stack_table;

class stacks : public testing::Test {
protected:
    std::vector<range> all() const {
        std::vector<range> r;
        table->for_each([&](range where) { r.push_back(where); });
        std::sort(r.begin(), r.end(), [](range a, range b) { return a.begin < b.begin; });
        return r;
    }
    static range at(unsigned i, page_count pages = 16) {
        const address end = 0x7f0000000000 + (address{i} + 1) * 0x100000;
        return {end - pages * page_size, end};
    }
    std::unique_ptr<stack_table> table = std::make_unique<stack_table>();
};

TEST_F(stacks, are_kept_as_noted) {
    EXPECT_TRUE(all().empty());
    table->note(at(0));
    table->note(at(1, 256));
    table->note(at(0));
    EXPECT_EQ(all(), (std::vector<range>{at(0), at(1, 256)}));
    EXPECT_TRUE(table->covers(at(0)));
    EXPECT_TRUE(table->covers({at(1).begin + page_size, at(1).end - page_size}));
    EXPECT_FALSE(table->covers({at(0).begin, at(0).end + page_size}));
    table->clear();
    EXPECT_TRUE(all().empty());
    EXPECT_FALSE(table->covers(at(0)));
}

TEST_F(stacks, replace_what_lay_there) {
    table->note(at(0, 16));
    table->note(at(0, 32)); // the same end, another size
    EXPECT_EQ(all(), std::vector<range>{at(0, 32)});
    const range over{at(0).end - page_size, at(0).end + 8 * page_size};
    table->note(over);
    EXPECT_EQ(all(), std::vector<range>{over});
}

TEST_F(stacks, that_cannot_be_are_left_out) {
    table->note({});
    table->note({0x10000, address{1} << 50});
    EXPECT_TRUE(all().empty());
}

TEST_F(stacks, of_a_crowd_drive_each_other_out_one_by_one) {
    for (unsigned i = 0; i < 3 * stack_table::capacity; ++i) {
        table->note(at(i));
        ASSERT_TRUE(table->covers(at(i)));
    }
    EXPECT_LE(all().size(), stack_table::capacity);
    EXPECT_GE(all().size(), stack_table::capacity * 9 / 10);
    const auto noted = all();
    EXPECT_EQ(std::adjacent_find(noted.begin(), noted.end()), noted.end());
}

TEST_F(stacks, three_quarters_full_lose_few) {
    const unsigned count = stack_table::capacity * 3 / 4;
    for (unsigned i = 0; i < count; ++i) {
        table->note(at(i));
    }
    EXPECT_GE(all().size(), count * 95 / 100);
}

TEST_F(stacks, are_copied_to_a_child) {
    for (unsigned i = 0; i < 100; ++i) {
        table->note(at(i, i + 1));
    }
    auto child = std::make_unique<stack_table>();
    child->copy_from(*table);
    const auto before = all();
    std::swap(table, child);
    EXPECT_EQ(all(), before);
}

TEST_F(stacks, of_several_threads_are_never_half_written) {
    std::vector<std::thread> threads;
    std::atomic<bool> stop{false};
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (unsigned n = 0; n < 5000; ++n) {
                table->note(at(t * 1000 + n % 500, 1 + n % 7));
            }
        });
    }
    std::thread reader([&] {
        while (!stop) {
            table->for_each([](range r) {
                EXPECT_LE(r.pages(), 7u);
                EXPECT_EQ(r.end % 0x100000, 0u);
            });
        }
    });
    for (auto& t : threads) {
        t.join();
    }
    stop = true;
    reader.join();
    EXPECT_GE(all().size(), 1600u);
}

} // namespace
