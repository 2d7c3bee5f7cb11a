// SPDX-License-Identifier: MIT
// Random requests to four heaps of two owners against the model (support/heap_twin.hpp), one at a time
// and by four threads in turn; what fails is made short and printed as C++.
#include "support/apart.hpp"
#include "support/heap_twin.hpp"
#include "support/numbers.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <sys/mman.h>

namespace memreeve::test {
namespace {

constexpr std::uint64_t of_one_life = 6000; // operations

std::vector<heap_operation> draw(std::uint64_t seed) {
    random_numbers numbers(seed);
    heap_decoder<random_numbers> next(numbers);
    std::vector<heap_operation> list(of_one_life);
    for (heap_operation& o : list) {
        o = next.next();
    }
    return list;
}

struct figures {
    std::uint64_t refused = 0;
    std::array<std::uint64_t, heap_step_count> done{};
};

std::string play(const std::vector<heap_operation>& list, figures* out = nullptr) {
    heap_twin t;
    if (!t.is_good()) {
        return "no host";
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (std::string what = t.run(list[i]); !what.empty()) {
            return "operation " + std::to_string(i) + " " + text_of(list[i]) + ": " + what;
        }
    }
    std::string what = t.finish();
    if (out != nullptr) {
        out->refused += t.refused;
        for (unsigned k = 0; k < heap_step_count; ++k) {
            out->done[k] += t.done[k];
        }
    }
    return what;
}

void complain(std::vector<heap_operation> list, std::string what) {
    const auto fails = [](const std::vector<heap_operation>& rest) {
        return !play_apart([&] { return play(rest); }).empty();
    };
    if (fails(list)) {
        list = shorten(std::move(list), fails);
        what = play_apart([&] { return play(list); });
    }
    FAIL() << what << "\n\n" << test_of(list, what);
}

TEST(heap_random, heaps_agree_with_the_model) {
    const std::uint64_t seed = seed_of_run();
    const std::uint64_t lives = std::getenv("MEMREEVE_LONG") != nullptr ? 4000 : 30;
    // Each life in a process of its own, so that a crash is made short too.
    void* const shared =
        mmap(nullptr, sizeof(figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    figures& all = *new (shared) figures;
    for (std::uint64_t life = 0; life < lives; ++life) {
        const std::vector<heap_operation> list = draw(seed + life);
        if (const std::string what = play_apart([&] { return play(list, &all); }); !what.empty()) {
            std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed + life));
            complain(list, what);
            return;
        }
    }
    std::printf("%llu operations, %llu refused\n",
                static_cast<unsigned long long>(lives * of_one_life),
                static_cast<unsigned long long>(all.refused));
    EXPECT_GT(all.refused, lives * of_one_life / 200) << "limits were hardly ever met";
    for (const std::uint64_t n : all.done) {
        EXPECT_GT(n, lives * of_one_life / 500);
    }
}

// What was found, in the shape in which it was printed.
void expect_good(const std::vector<heap_operation>& list) {
    EXPECT_EQ(play_apart([&] { return play(list); }), "");
}

TEST(heap_found_cases, nothing_is_a_good_list) { expect_good({}); }

// A refusal had every heap trimmed, a trim made a cache for its thread, and that was refused.
TEST(heap_found_cases, a_trim_asks_for_no_pages) {
    expect_good({
        {heap_step::limit, 3, 166, 2, 62370, 0},
        {heap_step::trim, 2, 86, 0, 0, 0},
        {heap_step::allocate, 2, 103, 0, 3968, 5},
        {heap_step::debug, 3, 165, 0, 38, 34},
        {heap_step::allocate, 2, 118, 0, 153, 6},
        {heap_step::allocate, 2, 74, 0, 3601, 58},
        {heap_step::allocate, 2, 131, 0, 101642, 25},
        {heap_step::debug, 2, 170, 0, 123, 27},
        {heap_step::allocate, 2, 98, 1, 2968, 54},
        {heap_step::zeroed, 2, 104, 1, 21, 4},
        {heap_step::debug, 2, 140, 0, 244, 35},
        {heap_step::debug, 3, 178, 2, 22951, 30},
    });
}

} // namespace
} // namespace memreeve::test
