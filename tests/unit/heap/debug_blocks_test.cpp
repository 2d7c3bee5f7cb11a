// SPDX-License-Identifier: MIT
// heap: blocks of allocate_debug. Canaries, fill, what is wrong with an address, what is live; that
// threads, forks, refusals and resizing change none of it.
#include "one_heap.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace memreeve::heap {
namespace {

unsigned char* at(address a) { return reinterpret_cast<unsigned char*>(a); }

// What was freed, unseen by AddressSanitizer, which would report it first.
__attribute__((noinline, no_sanitize("address"))) unsigned char read_freed(address a) {
    return *reinterpret_cast<const volatile unsigned char*>(a);
}
__attribute__((noinline, no_sanitize("address"))) void write_freed(address a, unsigned char value) {
    *reinterpret_cast<volatile unsigned char*>(a) = value;
}

struct debug_blocks : testing::Test {
    test_page_source source;
    class heap* h = nullptr;
    std::vector<misuse> told;

    void SetUp() override {
        const auto made = heap::create(source, {.listener = {&hear, this}});
        ASSERT_TRUE(made);
        h = *made;
    }
    void TearDown() override { h->destroy(); }
    static void hear(void* self, const misuse& m) noexcept {
        static_cast<debug_blocks*>(self)->told.push_back(m);
    }
    address get(byte_count size, const char* file = "debug.c", int line = 1) {
        const auto got = h->allocate_debug(size, task, file, line);
        EXPECT_TRUE(got) << size;
        return got ? *got : 0;
    }
    std::map<address, live_block> live() {
        std::map<address, live_block> all;
        EXPECT_TRUE(h->list_live(
            [](void* to, const live_block& b) noexcept {
                (*static_cast<std::map<address, live_block>*>(to))[b.where] = b;
                return true;
            },
            &all));
        return all;
    }
};

constexpr byte_count sizes[] = {1,     2,     15,    16,    17,    31,     32,    33,
                                95,    96,    97,    100,   500,   4095,   4096,  5000,
                                20000, 32735, 32736, 32737, 32768, 100000, 300000};

TEST_F(debug_blocks, the_block_is_as_large_as_asked_and_no_byte_of_it_is_a_canary) {
    for (const byte_count size : sizes) {
        const address a = get(size);
        EXPECT_EQ(a % block_alignment, 0u);
        EXPECT_EQ(h->size_of(a), size);
        for (const unsigned value : {0u, 0xffu, 0xddu}) {
            std::memset(at(a), static_cast<int>(value), size);
        }
        EXPECT_EQ(h->stats().live_bytes, size);
        EXPECT_EQ(h->explain(a).kind, misuse_kind::none);
        EXPECT_TRUE(h->free(a)) << size;
        EXPECT_EQ(h->explain(a).kind, misuse_kind::freed);
    }
    EXPECT_TRUE(told.empty());
}

TEST_F(debug_blocks, every_byte_of_both_canaries_is_looked_at) {
    for (const byte_count size : sizes) {
        const address a = get(size, "looked.c", 12);
        for (int i = -16; i < 16; ++i) {
            const address where =
                i < 0 ? a + static_cast<address>(i) : a + size + static_cast<address>(i);
            EXPECT_NE(*at(where), 0) << "a string that is too long by its end is seen";
            for (const unsigned bit : {0u, 3u, 7u}) {
                *at(where) = static_cast<unsigned char>(*at(where) ^ 1u << bit);
                EXPECT_EQ(h->free(a).error().code, errc::not_ours) << size << ", byte " << i;
                const misuse m = h->explain(a);
                EXPECT_EQ(m.kind,
                          i < 0 ? misuse_kind::written_before : misuse_kind::written_behind);
                EXPECT_EQ(m.offset, static_cast<byte_count>(i < 0 ? -i : i)) << size;
                EXPECT_EQ(m.size, size);
                EXPECT_STREQ(m.file, "looked.c");
                EXPECT_EQ(m.line, 12);
                *at(where) = static_cast<unsigned char>(*at(where) ^ 1u << bit);
            }
        }
        EXPECT_EQ(h->stats().live_blocks, 1u) << "it stays as it is";
        EXPECT_TRUE(h->free(a)) << size;
    }
}

TEST_F(debug_blocks, canaries_of_different_blocks_differ) {
    std::map<std::string, int> seen;
    for (int i = 0; i < 1000; ++i) {
        const address a = get(16);
        ++seen[std::string(reinterpret_cast<const char*>(at(a) - 16), 16)];
        EXPECT_NE(std::memcmp(at(a) - 16, at(a) + 16, 16), 0) << "in front and behind";
    }
    EXPECT_GT(seen.size(), 200u);
}

TEST_F(debug_blocks, what_is_written_after_free_is_told_when_the_block_is_handed_out_again) {
    for (const byte_count size :
         {byte_count{1}, byte_count{100}, byte_count{5000}, byte_count{32736}}) {
        for (const byte_count i : {byte_count{0}, size / 2, size - 1}) {
            told.clear();
            const address a = get(size, "first.c", 3);
            std::memset(at(a), 1, size);
            ASSERT_TRUE(h->free(a));
            EXPECT_EQ(read_freed(a + i), freed_byte);
            write_freed(a + i, 0);
            const address again = get(size, "second.c", 4);
            ASSERT_EQ(again, a);
            ASSERT_EQ(told.size(), 1u) << size;
            EXPECT_EQ(told[0].kind, misuse_kind::written_after);
            EXPECT_EQ(told[0].block, a);
            EXPECT_EQ(told[0].size, size);
            EXPECT_EQ(told[0].offset, i);
            EXPECT_STREQ(told[0].file, "first.c");
            EXPECT_EQ(told[0].line, 3);
            ASSERT_TRUE(h->free(again));
        }
    }
}

// A slab whose pages went back comes back with others: nobody has written there.
TEST_F(debug_blocks, new_pages_of_a_slab_are_nobodys) {
    for (int round = 0; round < 4; ++round) {
        std::vector<address> blocks;
        for (int i = 0; i < 3000; ++i) {
            blocks.push_back(get(static_cast<byte_count>(i % 300)));
        }
        for (const address a : blocks) {
            ASSERT_TRUE(h->free(a));
        }
        h->trim();
    }
    EXPECT_TRUE(told.empty());
}

TEST_F(debug_blocks, explained) {
    const address plain = *h->allocate(100, task);
    const address small = get(100, "small.c", 5);
    const address large = get(100000, "large.c", 6);
    struct {
        address where;
        misuse_kind kind;
        address block;
        byte_count size;
    } const cases[] = {
        {plain, misuse_kind::none, plain, 112},
        {plain + 1, misuse_kind::inside_live, plain, 112},
        {plain + 111, misuse_kind::inside_live, plain, 112},
        {small, misuse_kind::none, small, 100},
        {small - 16, misuse_kind::inside_live, small, 100},
        {small + 99, misuse_kind::inside_live, small, 100},
        {small + 100, misuse_kind::inside_live, small, 100},
        {large - 16, misuse_kind::inside_live, large, 100000},
        {large + 4096, misuse_kind::inside_live, large, 100000},
        {reinterpret_cast<address>(h), misuse_kind::own_records, 0, 0},
        {reinterpret_cast<address>(&told), misuse_kind::foreign, 0, 0},
        {0, misuse_kind::foreign, 0, 0},
        {16, misuse_kind::foreign, 0, 0},
        {~address{0}, misuse_kind::foreign, 0, 0},
    };
    for (const auto& c : cases) {
        const misuse m = h->explain(c.where);
        EXPECT_EQ(m.kind, c.kind) << std::hex << c.where;
        EXPECT_EQ(m.block, c.block);
        EXPECT_EQ(m.size, c.size);
        EXPECT_EQ(m.heap, h->number());
        EXPECT_EQ(m.is_named, c.block == small || c.block == large);
        if (c.kind != misuse_kind::none) {
            EXPECT_FALSE(h->free(c.where) && c.where != 0);
        }
    }
    for (const address a : {plain, small, large}) {
        EXPECT_TRUE(h->free(a));
        EXPECT_EQ(h->explain(a).kind, misuse_kind::freed);
        EXPECT_EQ(h->explain(a).was_live, a != plain);
    }
    EXPECT_EQ(h->explain(plain + 1).kind, misuse_kind::inside_free);
    EXPECT_EQ(h->explain(small + 1).kind, misuse_kind::inside_free);
}

TEST_F(debug_blocks, live_blocks_are_listed_with_where_they_came_from) {
    std::map<address, live_block> model;
    std::mt19937_64 random(5);
    for (int i = 0; i < 5000; ++i) {
        const byte_count size = random() % 100 == 0 ? 40000 + random() % 60000 : random() % 2000;
        const bool named = i % 2 == 0;
        const std::string file = "f" + std::to_string(i % 7);
        const auto got =
            named ? h->allocate_debug(size, task, file.c_str(), i) : h->allocate(size, task);
        ASSERT_TRUE(got);
        live_block b{.where = *got, .size = h->size_of(*got), .is_named = named};
        b.line = named ? i : 0;
        ASSERT_TRUE(model.emplace(*got, b).second);
        if (random() % 3 == 0) {
            const auto it = model.lower_bound(random() % 2 == 0 ? *got : 0);
            ASSERT_TRUE(h->free(it->first));
            model.erase(it);
        }
    }
    const auto all = live();
    ASSERT_EQ(all.size(), model.size());
    byte_count bytes = 0;
    for (const auto& [where, b] : model) {
        const auto it = all.find(where);
        ASSERT_NE(it, all.end());
        EXPECT_EQ(it->second.size, b.size);
        EXPECT_EQ(it->second.is_named, b.is_named);
        EXPECT_EQ(it->second.line, b.line);
        if (b.is_named) {
            EXPECT_EQ(it->second.file, "f" + std::to_string(b.line % 7));
        } else {
            EXPECT_EQ(it->second.file, nullptr);
        }
        bytes += b.size;
    }
    EXPECT_EQ(h->stats().live_bytes, bytes);
    unsigned seen = 0;
    EXPECT_FALSE(h->list_live(
        [](void* n, const live_block&) noexcept { return ++*static_cast<unsigned*>(n) < 3; },
        &seen));
    EXPECT_EQ(seen, 3u);
    for (const auto& [where, b] : model) {
        ASSERT_TRUE(h->free(where));
    }
    EXPECT_TRUE(live().empty());
}

TEST_F(debug_blocks, a_resized_block_keeps_origin_and_contents) {
    address a = get(100, "resized.c", 9);
    std::memset(at(a), 7, 100);
    for (const byte_count size : {byte_count{50}, byte_count{5000}, byte_count{100000},
                                  byte_count{300000}, byte_count{60000}, byte_count{10}}) {
        const auto moved = h->resize(a, size, task);
        ASSERT_TRUE(moved) << size;
        a = *moved;
        EXPECT_EQ(h->size_of(a), size);
        const char* file = nullptr;
        int line = 0;
        ASSERT_TRUE(h->origin_of(a, &file, &line));
        EXPECT_STREQ(file, "resized.c");
        EXPECT_EQ(line, 9);
        EXPECT_EQ(at(a)[9], 7);
        EXPECT_EQ(h->stats().live_blocks, 1u);
        EXPECT_EQ(h->explain(a).kind, misuse_kind::none);
    }
    at(a)[10] = static_cast<unsigned char>(~at(a)[10]);
    EXPECT_EQ(h->resize(a, 1000, task).error().code, errc::not_ours) << "its canary is damaged";
    EXPECT_EQ(h->stats().live_blocks, 1u);
}

TEST_F(debug_blocks, threads_free_each_others_and_nothing_is_told) {
    std::atomic<address> slots[64]{};
    std::atomic<unsigned> wrong{0};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < 4; ++t) {
        crew.emplace_back([&, t] {
            std::mt19937 random(t);
            for (int i = 0; i < 20000; ++i) {
                const byte_count size = random() % 700;
                const auto got = h->allocate_debug(size, task, t % 2 == 0 ? "even.c" : "odd.c", i);
                if (!got) {
                    ++wrong;
                    continue;
                }
                std::memset(at(*got), static_cast<int>(t), size);
                const address other = slots[random() % 64].exchange(*got);
                if (other != 0 && !h->free(other)) {
                    ++wrong;
                }
            }
        });
    }
    for (auto& t : crew) {
        t.join();
    }
    for (auto& s : slots) {
        if (s != 0) {
            EXPECT_TRUE(h->free(s));
        }
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_TRUE(told.empty());
    EXPECT_EQ(h->stats().live_blocks, 0u);
    EXPECT_EQ(h->stats().live_bytes, 0u);
}

// Of those who free one block at the same time exactly one is told that it did.
TEST_F(debug_blocks, a_race_to_free_has_one_winner) {
    for (int round = 0; round < 300; ++round) {
        const address a = get(round % 10 == 0 ? 40000 : 64);
        std::atomic<int> ready{0};
        std::atomic<int> won{0};
        const auto race = [&] {
            ++ready;
            while (ready < 2) {
            }
            won += h->free(a) ? 1 : 0;
        };
        std::thread other(race);
        race();
        other.join();
        ASSERT_EQ(won, 1);
    }
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

TEST_F(debug_blocks, a_child_of_fork_goes_on) {
    std::vector<address> blocks;
    for (int i = 0; i < 100; ++i) {
        blocks.push_back(get(50));
    }
    source.hold();
    const pid_t child = fork();
    if (child == 0) {
        source.release_in_child();
        h->settle_after_fork();
        bool good = true;
        for (const address a : blocks) {
            good = good && h->free(a) && !h->free(a);
        }
        const auto got = h->allocate_debug(50, task, "child.c", 1);
        good = good && got && h->free(*got) && h->stats().live_blocks == 0;
        _exit(good ? 0 : 1);
    }
    source.release();
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    for (const address a : blocks) {
        EXPECT_TRUE(h->free(a));
    }
}

} // namespace
} // namespace memreeve::heap
