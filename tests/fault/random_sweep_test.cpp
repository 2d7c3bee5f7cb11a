// SPDX-License-Identifier: MIT
// Random operations, with a system call failing in most of them: the n-th, once or from there on, with
// each of five errno values. What is refused has changed nothing and what is done is done, to the page
// and the byte, as the differential test's model has it; release is never refused, and decommit only
// where every attempt to drop the contents fails.
//
//   once      afterwards everything is strictly as it must be, the kernel's access included
//   for ever  what was given up may be open until the faults have ended (reliability 2.0); committed
//             pages, contents, states and charges are exact; at the end all that was owed is settled
//
// The scripts of memory_sweep_test and bridge_sweep_test take every point of single operations; here
// it is every kind of state that they meet.
#include "differential/play.hpp"
#include "prim/faulty/faulty.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>

namespace memreeve::differential {
namespace {

using prim::faulty::mode;

constexpr int errors[] = {ENOMEM, EAGAIN, EINVAL, EPERM, EACCES};

struct {
    std::mt19937_64 random;
    mode how = mode::once;
    std::uint64_t armed = 0, hit = 0;
    std::array<std::uint64_t, 5> by_error{};
} plan;

test_host* host_under_test = nullptr;

// Settles what one fault left behind, as any later request does.
void around(twin& t, bool begins) {
    if (begins) {
        t.at_limit = true;
        if (plan.random() % 8 != 0) {
            const std::size_t e = plan.random() % 5;
            const long n = 1 + static_cast<long>(plan.random() % (plan.random() % 4 == 0 ? 8 : 3));
            prim::faulty::arm({n, errors[e], plan.how}, {});
            ++plan.armed;
            ++plan.by_error[e];
        }
        return;
    }
    prim::faulty::disarm();
    plan.hit += prim::faulty::hits() > 0 ? 1u : 0u;
    if (plan.how == mode::once) {
        host_under_test->host->core->memory().space().settle_owed();
        t.at_limit = false;
    }
}

void sweep(mode how) {
    const char* text = std::getenv("MEMREEVE_SEED");
    const std::uint64_t seed =
        text != nullptr ? std::strtoull(text, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    const bool is_long = std::getenv("MEMREEVE_LONG") != nullptr;
    const unsigned lives = is_long ? 2000 : std::getenv("MEMREEVE_QUICK") != nullptr ? 10 : 60;
    plan = {};
    plan.how = how;
    plan.random.seed(seed);
    std::uint64_t refused = 0;
    std::uint64_t done = 0;
    for (unsigned life = 0; life < lives; ++life) {
        test_host h;
        ASSERT_TRUE(h.good);
        host_under_test = &h;
        h.host->core->memory().space().assume_dense(life % 2 != 0);
        twin t(h, 0, plant::none);
        t.whole_every = 128;
        t.books_every = 128;
        random_numbers numbers(seed + life);
        decoder<random_numbers> draw(numbers, t.model(), t.slot_bases());
        t.around = around;
        t.decommit_may_be_refused = how == mode::forever;
        for (unsigned i = 0; i < 3000; ++i, ++done) {
            const operation o = draw.next();
            const std::string what = t.run(o);
            ASSERT_EQ(what, "") << "seed " << seed << ", life " << life << ", operation " << i
                                << " " << text_of(o) << ", " << prim::faulty::hits()
                                << " faults, first at call " << prim::faulty::failed_call();
        }
        refused += t.refused;
        t.around = nullptr;
        ASSERT_EQ(t.finish(), "") << "seed " << seed << ", life " << life;
        h.host->core->memory().space().settle_owed();
        EXPECT_EQ(h.host->core->memory().space().owed(), 0u)
            << "seed " << seed << ", life " << life;
        t.at_limit = false;
        ASSERT_EQ(t.finish(), "") << "seed " << seed << ", life " << life << ", settled";
        for (unsigned i = 0; i < 300; ++i, ++done) {
            const operation o = draw.next();
            ASSERT_EQ(t.run(o), "") << "seed " << seed << ", life " << life
                                    << ", settled, operation " << i << " " << text_of(o);
        }
        ASSERT_EQ(t.finish(), "") << "seed " << seed << ", life " << life << ", the second time";
        EXPECT_TRUE(t.is_window_unmapped()) << "seed " << seed << ", life " << life;
    }
    std::printf("%llu operations, %llu with a fault armed, %llu hit, %llu refused\n",
                static_cast<unsigned long long>(done), static_cast<unsigned long long>(plan.armed),
                static_cast<unsigned long long>(plan.hit),
                static_cast<unsigned long long>(refused));
    EXPECT_GT(plan.hit, done / 20);
    EXPECT_GT(refused, done / 100);
    for (const std::uint64_t n : plan.by_error) {
        EXPECT_GT(n, done / 50);
    }
}

TEST(random_sweep, a_call_fails_once) { sweep(mode::once); }
TEST(random_sweep, calls_fail_for_ever) { sweep(mode::forever); }

} // namespace
} // namespace memreeve::differential
