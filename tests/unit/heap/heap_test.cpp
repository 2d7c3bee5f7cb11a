// SPDX-License-Identifier: MIT
// heap: D4-D8, D20, D33, decisions 10 and 17, and that a refusal leaves everything as before.
#include "heap/heap.hpp"
#include "test_page_source.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace memreeve::heap {
namespace {

constexpr auto task = criticality::task;

struct heap_test : testing::Test {
    test_page_source source;
    class heap* h = nullptr;

    void SetUp() override {
        const auto made = heap::create(source, {});
        ASSERT_TRUE(made);
        h = *made;
    }
    void TearDown() override {
        if (h != nullptr) {
            h->destroy();
        }
    }
    address get(byte_count size) {
        const auto got = h->allocate(size, task);
        EXPECT_TRUE(got) << size;
        return got ? *got : 0;
    }
};

unsigned char* at(address a) { return reinterpret_cast<unsigned char*>(a); }

std::uint64_t seed() {
    const char* given = std::getenv("MEMREEVE_SEED");
    const std::uint64_t s =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(s));
    return s;
}

TEST_F(heap_test, d4_free_of_null_does_nothing) {
    EXPECT_TRUE(h->free(0));
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

TEST_F(heap_test, d5_size_zero_gives_unique_blocks) {
    std::set<address> seen;
    for (int i = 0; i < 1000; ++i) {
        const address a = get(0);
        EXPECT_NE(a, 0u);
        EXPECT_TRUE(seen.insert(a).second);
        EXPECT_GT(h->size_of(a), 0u);
    }
    for (const address a : seen) {
        EXPECT_TRUE(h->free(a));
    }
}

TEST_F(heap_test, d6_every_block_is_16_byte_aligned_and_writable_to_its_end) {
    for (byte_count size = 0; size < 70000; size += size < 300 ? 1 : 997) {
        const address a = get(size);
        EXPECT_EQ(a % 16, 0u) << size;
        EXPECT_GE(h->size_of(a), size);
        std::memset(at(a), 0x5a, h->size_of(a));
        EXPECT_TRUE(h->free(a));
    }
}

TEST_F(heap_test, d8_double_free_is_refused_and_changes_nothing) {
    for (const byte_count size :
         {byte_count{1}, byte_count{100}, byte_count{5000}, byte_count{200000}}) {
        const address keep = get(size);
        const address a = get(size);
        EXPECT_TRUE(h->free(a));
        const heap_stats before = h->stats();
        EXPECT_EQ(h->free(a).error().code, errc::not_ours) << size;
        EXPECT_EQ(h->size_of(a), 0u);
        EXPECT_EQ(h->stats().live_blocks, before.live_blocks);
        EXPECT_EQ(h->stats().pages_held, before.pages_held);
        EXPECT_GE(h->size_of(keep), size);
        EXPECT_TRUE(h->free(keep));
    }
}

TEST_F(heap_test, d8_interior_free_is_refused_everywhere_in_the_block) {
    for (const byte_count size : {byte_count{32}, byte_count{1000}, byte_count{100000}}) {
        const address a = get(size);
        for (byte_count off = 1; off < h->size_of(a); off += off < 64 ? 1 : 333) {
            EXPECT_EQ(h->free(a + off).error().code, errc::not_ours) << size << "+" << off;
        }
        EXPECT_GE(h->size_of(a), size);
        EXPECT_TRUE(h->free(a));
    }
}

TEST_F(heap_test, d8_foreign_free_is_refused) {
    int local = 0;
    const auto other = heap::create(source, {});
    ASSERT_TRUE(other);
    const address theirs = *(*other)->allocate(64, task);
    const address theirs_large = *(*other)->allocate(640000, task);
    const address mine = get(64);
    for (const address a :
         {reinterpret_cast<address>(&local), address{1}, address{16}, ~address{15},
          reinterpret_cast<address>(h), reinterpret_cast<address>(h) + 8192,
          reinterpret_cast<address>(*other), theirs, theirs_large, mine + 16}) {
        EXPECT_EQ(h->free(a).error().code, errc::not_ours) << std::hex << a;
        EXPECT_EQ(h->size_of(a), 0u);
    }
    EXPECT_GE((*other)->size_of(theirs), 64u);
    EXPECT_GE((*other)->size_of(theirs_large), 640000u);
    (*other)->destroy();
    EXPECT_TRUE(h->free(mine));
}

TEST_F(heap_test, writing_past_a_block_does_not_confuse_the_heap) {
    std::vector<address> blocks;
    for (int i = 0; i < 256; ++i) {
        blocks.push_back(get(16));
    }
    // Every byte of the slab, the gaps between blocks included, belongs to blocks: nothing of ours is there.
    for (const address a : blocks) {
        std::memset(at(a), 0xff, 16);
    }
    for (const address a : blocks) {
        EXPECT_TRUE(h->free(a));
    }
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

TEST_F(heap_test, sizes_that_cannot_exist_are_refused) {
    const heap_stats before = h->stats();
    for (const byte_count size :
         {~byte_count{0}, ~byte_count{4094}, byte_count{1} << 63, top_address + 1}) {
        EXPECT_EQ(h->allocate(size, task).error().code, errc::out_of_address_space);
        EXPECT_EQ(h->allocate_debug(size, task, "f", 1).error().code, errc::out_of_address_space);
    }
    EXPECT_EQ(h->stats().live_blocks, before.live_blocks);
    EXPECT_EQ(h->stats().pages_held, before.pages_held);
}

TEST_F(heap_test, the_level_of_the_request_reaches_the_source) {
    for (const auto level : {criticality::task, criticality::domain, criticality::process}) {
        const auto got = h->allocate(100000, level);
        ASSERT_TRUE(got);
        EXPECT_EQ(source.last_level, level);
        EXPECT_TRUE(h->free(*got));
    }
}

TEST_F(heap_test, an_empty_heap_and_a_small_one_hold_few_pages) {
    EXPECT_LE(h->stats().pages_held, 4u);
    std::vector<address> blocks;
    for (int i = 0; i < 10; ++i) {
        blocks.push_back(get(32));
    }
    EXPECT_LE(h->stats().pages_held, 8u);
    EXPECT_EQ(h->stats().pages_held, source.pages());
    for (const address a : blocks) {
        EXPECT_TRUE(h->free(a));
    }
}

TEST_F(heap_test, pages_of_empty_slabs_and_large_blocks_go_back) {
    const page_count empty = h->stats().pages_held;
    std::vector<address> blocks;
    for (int i = 0; i < 20000; ++i) {
        blocks.push_back(get(100));
    }
    for (int i = 0; i < 20; ++i) {
        blocks.push_back(get(300000));
    }
    const page_count most = source.pages();
    EXPECT_GT(most, empty + 1000);
    for (const address a : blocks) {
        EXPECT_TRUE(h->free(a));
    }
    // What stays: one empty slab of the class (16 pages at most) and records, which are kept: a
    // sixteenth of the slabs at most, and what chunks of them are larger.
    EXPECT_LE(h->stats().pages_held, empty + 16 + most / 16);
    EXPECT_EQ(h->stats().pages_held, source.pages());
    // And they are taken again when needed.
    for (address& a : blocks) {
        a = get(100);
    }
    for (const address a : blocks) {
        EXPECT_TRUE(h->free(a));
    }
}

TEST_F(heap_test, one_block_at_the_edge_of_a_slab_does_not_take_and_return_pages) {
    std::vector<address> fill;
    const unsigned at_first = source.takes;
    while (source.takes < at_first + 5) {
        fill.push_back(get(64));
    }
    EXPECT_TRUE(h->free(fill.back())); // the newest slab is empty now, all others are full
    fill.pop_back();
    const unsigned takes = source.takes;
    for (int i = 0; i < 1000; ++i) {
        const address a = get(64);
        EXPECT_TRUE(h->free(a));
    }
    EXPECT_EQ(source.takes, takes);
    EXPECT_EQ(source.returns, 0u);
    for (const address a : fill) {
        EXPECT_TRUE(h->free(a));
    }
}

TEST_F(heap_test, freed_blocks_of_full_slabs_are_found_again) {
    std::vector<address> blocks;
    for (int i = 0; i < 50000; ++i) {
        blocks.push_back(get(48));
    }
    const page_count full = source.pages();
    for (int round = 0; round < 5; ++round) {
        for (std::size_t i = 0; i < blocks.size(); i += 7) {
            EXPECT_TRUE(h->free(blocks[i]));
        }
        for (std::size_t i = 0; i < blocks.size(); i += 7) {
            blocks[i] = get(48);
        }
        EXPECT_EQ(source.pages(), full) << "holes were not used";
    }
    for (const address a : blocks) {
        EXPECT_TRUE(h->free(a));
    }
}

TEST_F(heap_test, d33_origin_is_copied_and_a_null_name_is_fine) {
    for (const byte_count size :
         {byte_count{0}, byte_count{16}, byte_count{3000}, byte_count{500000}}) {
        char name[32];
        std::snprintf(name, sizeof name, "file-%llu.cpp", static_cast<unsigned long long>(size));
        const std::string wanted = name;
        const auto named = h->allocate_debug(size, task, name, 42);
        ASSERT_TRUE(named);
        std::memset(name, 'x', sizeof name - 1); // transient
        const auto unnamed = h->allocate_debug(size, task, nullptr, -7);
        const auto nothing = h->allocate_debug(size, task, nullptr, 0);
        const auto plain = h->allocate(size, task);
        ASSERT_TRUE(unnamed && nothing && plain);

        const char* file = "unset";
        int line = 0;
        ASSERT_TRUE(h->origin_of(*named, &file, &line));
        EXPECT_EQ(file, wanted);
        EXPECT_EQ(line, 42);
        ASSERT_TRUE(h->origin_of(*unnamed, &file, &line));
        EXPECT_EQ(file, nullptr);
        EXPECT_EQ(line, -7);
        ASSERT_TRUE(h->origin_of(*nothing, &file, &line));
        EXPECT_EQ(file, nullptr);
        EXPECT_EQ(line, 0);
        EXPECT_FALSE(h->origin_of(*plain, &file, &line));
        EXPECT_FALSE(h->origin_of(*named + 1, &file, &line));
        for (const address a : {*named, *unnamed, *nothing, *plain}) {
            EXPECT_EQ(a % 16, 0u);
            EXPECT_TRUE(h->free(a));
            EXPECT_FALSE(h->origin_of(a, &file, &line));
        }
        // Used again for a plain block, an old large record must not show its old origin.
        const auto again = h->allocate(size, task);
        ASSERT_TRUE(again);
        EXPECT_FALSE(h->origin_of(*again, &file, &line));
        EXPECT_TRUE(h->free(*again));
    }
}

TEST_F(heap_test, decision_17_names_are_interned_by_contents) {
    char a[] = "same.cpp";
    char b[] = "same.cpp";
    const auto one = h->allocate_debug(8, task, a, 1);
    const auto two = h->allocate_debug(8, task, b, 2);
    a[0] = 'g'; // the same pointer, another name
    const auto three = h->allocate_debug(8, task, a, 3);
    ASSERT_TRUE(one && two && three);
    const char *f1, *f2, *f3;
    int line = 0;
    ASSERT_TRUE(h->origin_of(*one, &f1, &line));
    ASSERT_TRUE(h->origin_of(*two, &f2, &line));
    ASSERT_TRUE(h->origin_of(*three, &f3, &line));
    EXPECT_EQ(f1, f2);
    EXPECT_STREQ(f1, "same.cpp");
    EXPECT_STREQ(f3, "game.cpp");
    const page_count pages = source.pages();
    for (int i = 0; i < 100000; ++i) {
        const auto got = h->allocate_debug(8, task, b, i);
        ASSERT_TRUE(got);
        ASSERT_TRUE(h->free(*got));
    }
    EXPECT_EQ(source.pages(), pages);
    for (const auto& block : {one, two, three}) {
        EXPECT_TRUE(h->free(*block));
    }
}

TEST_F(heap_test, decision_17_names_with_equal_hashes_stay_apart) {
    std::map<std::uint32_t, std::string> seen;
    std::string one;
    std::string two;
    for (std::uint32_t n = 0; one.empty(); ++n) {
        char name[16];
        std::snprintf(name, sizeof name, "%08x.c", n * 2654435761u);
        std::uint32_t hash = 2166136261u; // FNV-1a, as names.cpp has it
        for (const char* c = name; *c != '\0'; ++c) {
            hash = (hash ^ static_cast<unsigned char>(*c)) * 16777619u;
        }
        const auto [it, fresh] = seen.emplace(hash, name);
        if (!fresh) {
            one = it->second;
            two = name;
        }
    }
    const auto a = h->allocate_debug(8, task, one.c_str(), 1);
    const auto b = h->allocate_debug(8, task, two.c_str(), 2);
    ASSERT_TRUE(a && b);
    const char* file = nullptr;
    int line = 0;
    ASSERT_TRUE(h->origin_of(*a, &file, &line));
    EXPECT_EQ(file, one);
    ASSERT_TRUE(h->origin_of(*b, &file, &line));
    EXPECT_EQ(file, two);
    EXPECT_TRUE(h->free(*a));
    EXPECT_TRUE(h->free(*b));
}

// Decision 18: a thread stopped while it takes pages, for a slab, a large block or records, keeps
// nobody from anything, and nothing is lost when it goes on and finds that others were quicker.
TEST_F(heap_test, decision_18_others_work_on_while_a_thread_stands_in_a_take) {
    std::vector<address> live;
    unsigned stops = 0;
    for (int i = 0; i < 4000; ++i) {
        if (i % 3 == 0) {
            source.during_take = [&] {
                ++stops;
                for (int k = 0; k < 60; ++k) {
                    const std::string name = std::string(500, 'n') +
                                             std::to_string(stops * 100 + static_cast<unsigned>(k));
                    const auto got = h->allocate_debug(64, task, name.c_str(), k);
                    ASSERT_TRUE(got);
                    live.push_back(*got);
                    live.push_back(get(static_cast<byte_count>(64 + k % 3 * 3000)));
                    if (k % 2 == 0) {
                        ASSERT_TRUE(h->free(live[live.size() / 2]));
                        live.erase(live.begin() + static_cast<long>(live.size() / 2));
                    }
                }
            };
        }
        const auto got =
            i % 50 == 0 ? h->allocate(50000, task) : h->allocate_debug(64, task, "f", i);
        ASSERT_TRUE(got);
        live.push_back(*got);
        ASSERT_EQ(h->stats().pages_held, source.pages());
    }
    source.during_take = nullptr;
    EXPECT_GT(stops, 20u);
    EXPECT_EQ(std::set<address>(live.begin(), live.end()).size(), live.size())
        << "handed out twice";
    EXPECT_EQ(h->stats().live_blocks, live.size());
    for (const address a : live) {
        ASSERT_TRUE(h->free(a));
    }
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

TEST_F(heap_test, a_very_long_name_keeps_its_end) {
    const std::string name = std::string(5000, 'd') + "/the_file.cpp";
    const auto got = h->allocate_debug(8, task, name.c_str(), 1);
    ASSERT_TRUE(got);
    const char* file = nullptr;
    int line = 0;
    ASSERT_TRUE(h->origin_of(*got, &file, &line));
    EXPECT_EQ(std::string(file), name.substr(name.size() - name_limit));
    EXPECT_TRUE(h->free(*got));
}

TEST(heap_executable, decision_10_blocks_may_be_executed) {
    test_page_source source;
    const auto made = heap::create(source, {false, true});
    ASSERT_TRUE(made);
    for (const byte_count size : {byte_count{16}, byte_count{100000}}) {
        const auto got = (*made)->allocate(size, task);
        ASSERT_TRUE(got);
        *at(*got) = 0xc3; // ret
        reinterpret_cast<void (*)()> (*got)();
        EXPECT_TRUE(source.is_executable(*got));
        EXPECT_TRUE((*made)->free(*got));
    }
    EXPECT_FALSE(source.is_executable(reinterpret_cast<address>(*made))) << "records need not be";
    EXPECT_TRUE((*made)->settings().executable);
    (*made)->destroy();
}

TEST(heap_refused, create_passes_the_refusal_on) {
    test_page_source source;
    source.fail_at = 1;
    source.refusal = errc::forbidden;
    EXPECT_EQ(heap::create(source, {}).error().code, errc::forbidden);
    EXPECT_EQ(source.pages(), 0u);
}

// A script over every kind of request, with the n-th take refused, once and for ever, for every n.
void run_script(unsigned fail_at, unsigned fail_from, bool* hit) {
    test_page_source source;
    const auto made = heap::create(source, {});
    ASSERT_TRUE(made);
    class heap& h = **made;
    source.takes = 0;
    source.fail_at = fail_at;
    source.fail_from = fail_from;
    std::map<address, byte_count> live;
    byte_count bytes = 0;
    std::mt19937_64 random(7);
    for (int i = 0; i < 3000; ++i) {
        const heap_stats before = h.stats();
        const unsigned refused = source.refused;
        const page_count pages = source.pages();
        const byte_count size =
            i % 50 == 0 ? 40000 + random() % 100000 : 1 + random() % (i % 9 == 0 ? 30000 : 600);
        char name[24];
        std::snprintf(name, sizeof name, "n%d", static_cast<int>(random() % 200));
        const auto got =
            i % 3 == 0 ? h.allocate_debug(size, task, name, i) : h.allocate(size, task);
        if (!got) {
            ASSERT_EQ(got.error().code, errc::over_budget);
            ASSERT_GT(source.refused, refused);
            ASSERT_EQ(h.stats().live_blocks, before.live_blocks);
            ASSERT_EQ(h.stats().live_bytes, before.live_bytes);
            // Records for what was refused may have been taken and are kept for the next request.
            ASSERT_LE(source.pages(), pages + 64);
        } else {
            ASSERT_TRUE(live.emplace(*got, h.size_of(*got)).second);
            bytes += h.size_of(*got);
        }
        if (live.size() > 400 || (random() % 3 == 0 && !live.empty())) {
            auto it = live.begin();
            std::advance(it, static_cast<long>(random() % live.size()));
            bytes -= it->second;
            ASSERT_TRUE(h.free(it->first)) << "letting go is never refused";
            live.erase(it);
        }
        ASSERT_EQ(h.stats().live_blocks, live.size());
        ASSERT_EQ(h.stats().live_bytes, bytes);
        ASSERT_EQ(h.stats().pages_held, source.pages());
    }
    *hit = source.refused > 0;
    h.destroy();
}

TEST(heap_refused, every_nth_take_once_and_for_ever_leaves_everything_as_before) {
    unsigned n = 1;
    for (bool hit = true; hit; ++n) {
        run_script(n, 0, &hit);
        if (HasFatalFailure() || n > 100000) {
            FAIL() << "refused once at take " << n;
        }
        if (n > 40) {
            n += 16;
        }
    }
    EXPECT_GT(n, 40u);
    for (unsigned from = 1; from < n; from += from < 10 ? 1 : 37) {
        bool hit = false;
        run_script(0, from, &hit);
        if (HasFatalFailure()) {
            FAIL() << "refused from take " << from;
        }
    }
}

// Random operations against a map: contents, disjointness, sizes, refusals of wrong frees.
TEST_F(heap_test, random_operations_agree_with_a_naive_model) {
    struct block {
        byte_count size;
        unsigned char fill;
        std::string file;
        int line;
    };
    std::mt19937_64 random(seed());
    std::map<address, block> live;
    std::map<std::string, int> variety;
    const auto pick = [&] {
        auto it = live.lower_bound(live.begin()->first +
                                   random() % (live.rbegin()->first - live.begin()->first + 1));
        return it;
    };
    for (int i = 0; i < 200000; ++i) {
        const unsigned what = static_cast<unsigned>(random() % 100);
        if (what < 48 || live.empty()) {
            const unsigned kind = static_cast<unsigned>(random() % 40);
            const byte_count size = kind == 0   ? 32769 + random() % 200000
                                    : kind == 1 ? 0
                                    : kind < 8  ? random() % 32769
                                                : random() % 512;
            const bool debug = random() % 4 == 0;
            const std::string file = "f" + std::to_string(random() % 50);
            const auto got =
                debug ? h->allocate_debug(size, task, file.c_str(), i) : h->allocate(size, task);
            ASSERT_TRUE(got);
            const byte_count usable = h->size_of(*got);
            ASSERT_GE(usable, size);
            const auto next = live.lower_bound(*got);
            if (next != live.end()) {
                ASSERT_LE(*got + usable, next->first);
            }
            if (next != live.begin()) {
                const auto previous = std::prev(next);
                ASSERT_LE(previous->first + previous->second.size, *got);
            }
            const auto fill = static_cast<unsigned char>(random());
            std::memset(at(*got), fill, usable);
            live[*got] = {usable, fill, debug ? file : "", i};
            ++variety[debug ? "debug" : "plain"];
            ++variety[size == 0 ? "zero" : size > largest_small ? "large" : "small"];
        } else if (what < 95) {
            const auto it = pick();
            const block& b = it->second;
            for (byte_count k = 0; k < b.size; k += 1 + k / 2) {
                ASSERT_EQ(at(it->first)[k], b.fill);
            }
            ASSERT_EQ(at(it->first)[b.size - 1], b.fill);
            const char* file = nullptr;
            int line = 0;
            ASSERT_EQ(h->origin_of(it->first, &file, &line), !b.file.empty());
            if (!b.file.empty()) {
                ASSERT_EQ(file, b.file);
                ASSERT_EQ(line, b.line);
            }
            ASSERT_TRUE(h->free(it->first));
            if (random() % 4 == 0) {
                ASSERT_FALSE(h->free(it->first));
                ++variety["double"];
            }
            live.erase(it);
            ++variety["free"];
        } else {
            const auto it = pick();
            const address wrong = it->first + 1 + random() % it->second.size; // its canary, too
            if (live.count(wrong) != 0) {
                continue;
            }
            ASSERT_EQ(h->free(wrong).error().code, errc::not_ours);
            ASSERT_EQ(h->size_of(it->first), it->second.size);
            ++variety["interior"];
        }
        if (i % 1024 == 0) {
            byte_count bytes = 0;
            for (const auto& [a, b] : live) {
                bytes += b.size;
            }
            const heap_stats s = h->stats();
            ASSERT_EQ(s.live_blocks, live.size());
            ASSERT_EQ(s.live_bytes, bytes);
            ASSERT_EQ(s.pages_held, source.pages());
        }
    }
    for (const char* kind :
         {"debug", "plain", "zero", "large", "small", "free", "double", "interior"}) {
        EXPECT_GT(variety[kind], 100) << kind;
    }
    for (const auto& [a, b] : live) {
        ASSERT_TRUE(h->free(a));
    }
    EXPECT_EQ(h->stats().live_blocks, 0u);
}

TEST(heap_destroy, gives_every_page_back_with_blocks_still_live) {
    test_page_source source;
    const auto made = heap::create(source, {});
    ASSERT_TRUE(made);
    for (int i = 0; i < 30000; ++i) {
        ASSERT_TRUE((*made)->allocate_debug(static_cast<byte_count>(i % 3000), task,
                                            std::to_string(i).c_str(), i));
    }
    ASSERT_TRUE((*made)->allocate(1000000, task));
    (*made)->destroy();
    EXPECT_EQ(source.pages(), 0u);
}

} // namespace
} // namespace memreeve::heap
