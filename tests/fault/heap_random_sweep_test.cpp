// SPDX-License-Identifier: MIT
// Random requests to heaps, with a system call failing in most of them: the n-th, once or from there
// on, with each of five errno values. What is refused has changed nothing and what is done is done, as
// the model has it (support/heap_twin.hpp); free is never refused; charges are exact all the time, and
// at the end nothing is charged and nothing owed. heap_sweep_test takes every point of single
// requests; here it is every kind of state that they meet.
#include "prim/faulty/faulty.hpp"
#include "support/heap_twin.hpp"
#include "support/numbers.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <random>

namespace memreeve::test {
namespace {

using prim::faulty::mode;

constexpr int errors[] = {ENOMEM, EAGAIN, EINVAL, EPERM, EACCES};

void sweep(mode how) {
    const std::uint64_t seed = seed_of_run();
    const unsigned lives = std::getenv("MEMREEVE_LONG") != nullptr    ? 1000
                           : std::getenv("MEMREEVE_QUICK") != nullptr ? 8
                                                                      : 40;
    std::mt19937_64 random(seed);
    std::uint64_t armed = 0;
    std::uint64_t hit = 0;
    std::uint64_t refused = 0;
    std::uint64_t done = 0;
    std::array<std::uint64_t, heap_step_count> hit_in{};
    for (unsigned life = 0; life < lives; ++life) {
        heap_twin t;
        ASSERT_TRUE(t.is_good());
        heap_operation o;
        t.around = [&](bool begins) {
            if (begins) {
                if (random() % 8 != 0) {
                    const long n = 1 + static_cast<long>(random() % (random() % 4 == 0 ? 12 : 3));
                    prim::faulty::arm({n, errors[random() % 5], how}, {});
                    ++armed;
                }
                return;
            }
            prim::faulty::disarm();
            if (prim::faulty::hits() > 0) {
                ++hit;
                ++hit_in[static_cast<unsigned>(o.what)];
            }
            if (how == mode::once) {
                t.host().memory().space().settle_owed();
            }
        };
        random_numbers numbers(seed + life);
        heap_decoder<random_numbers> draw(numbers);
        for (unsigned i = 0; i < 3000; ++i, ++done) {
            o = draw.next();
            const std::string what = t.run(o);
            ASSERT_EQ(what, "") << "MEMREEVE_SEED=" << seed << ", life " << life << ", operation "
                                << i << " " << text_of(o) << ", " << prim::faulty::hits()
                                << " faults, first at call " << prim::faulty::failed_call();
        }
        refused += t.refused;
        t.around = nullptr;
        t.host().memory().space().settle_owed();
        EXPECT_EQ(t.host().memory().space().owed(), 0u)
            << "MEMREEVE_SEED=" << seed << ", life " << life;
        ASSERT_EQ(t.finish(), "") << "MEMREEVE_SEED=" << seed << ", life " << life;
    }
    std::printf("%llu operations, %llu with a fault armed, %llu hit, %llu refused\n",
                static_cast<unsigned long long>(done), static_cast<unsigned long long>(armed),
                static_cast<unsigned long long>(hit), static_cast<unsigned long long>(refused));
    EXPECT_GT(hit, done / 50);
    EXPECT_GT(refused, done / 200);
    for (const heap_step what :
         {heap_step::allocate, heap_step::debug, heap_step::zeroed, heap_step::aligned,
          heap_step::resize, heap_step::free, heap_step::trim, heap_step::renew}) {
        EXPECT_GT(hit_in[static_cast<unsigned>(what)], 0u) << static_cast<unsigned>(what);
    }
}

TEST(heap_random_sweep, a_call_fails_once) { sweep(mode::once); }
TEST(heap_random_sweep, calls_fail_for_ever) { sweep(mode::forever); }

} // namespace
} // namespace memreeve::test
