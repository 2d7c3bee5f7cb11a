// SPDX-License-Identifier: MIT
// The real kernel at its mapping limit (65,530 by default): random operations, compared with the model
// as the differential test does. Each works, or is refused with nothing changed; decommit and release
// never fail; when there is room again, everything that was owed is settled.
// tests/fake/mapping_limit_test.cpp asks the same of a modelled kernel, point by point.
#include "differential/play.hpp"

#include <gtest/gtest.h>
#include <malloc.h>
#include <random>

namespace memreeve::differential {
namespace {

constexpr std::uint64_t page = page_model::page;
constexpr unsigned long most_pages = 100000;

unsigned long limit() {
    std::ifstream in("/proc/sys/vm/max_map_count");
    unsigned long n = 0;
    in >> n;
    return n;
}

// Mappings of our own, as many as the kernel gives.
class filler {
public:
    filler() {
        base_ = mmap(nullptr, 2 * most_pages * page, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    filler(const filler&) = delete;
    filler& operator=(const filler&) = delete;
    ~filler() { munmap(base_, 2 * most_pages * page); }
    bool is_mapped() const { return base_ != MAP_FAILED; }
    // Up to the limit; again after some were given back.
    void fill() {
        while (next_ < most_pages && mprotect(at(next_), page, PROT_READ) == 0) {
            ++next_;
        }
        // The last one or two.
        while (extra_ < 8) {
            void* p = mmap(nullptr, page, extra_ % 2 == 0 ? PROT_READ : PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (p == MAP_FAILED) {
                break;
            }
            extras_[extra_++] = p;
        }
    }
    void give_back(unsigned long count) {
        while (extra_ != 0) {
            munmap(extras_[--extra_], page);
        }
        while (count-- != 0 && next_ != 0) {
            mprotect(at(--next_), page, PROT_NONE);
        }
    }
    unsigned long filled() const { return next_; }

private:
    void* at(unsigned long n) const { return static_cast<char*>(base_) + (2 * n + 1) * page; }
    void* base_;
    unsigned long next_ = 0;
    unsigned extra_ = 0;
    void* extras_[8] = {};
};

std::uint64_t seed() {
    const char* text = std::getenv("MEMREEVE_SEED");
    const std::uint64_t chosen =
        text != nullptr ? std::strtoull(text, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
}

TEST(mapping_limit, every_operation_works_or_is_refused_and_all_is_settled_with_room) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "skipped: a sanitizer does not survive the mapping limit";
#endif
    if (limit() > most_pages) {
        GTEST_SKIP() << "skipped: vm.max_map_count is raised to " << limit();
    }
    // The test's own memory comes from the program break, and it is there before the limit is met: at
    // one mapping more than the limit, which mmap still gives, the break does not grow either.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 512 << 20);
    std::free(std::malloc(1 << 20));
    const std::uint64_t from = seed();
    const std::uint64_t rounds = std::getenv("MEMREEVE_LONG") != nullptr ? 200 : 12;
    const std::size_t mappings = test::kernel_truth::mapping_count();
    {
        filler others;
        ASSERT_TRUE(others.is_mapped());
        test_host h;
        ASSERT_TRUE(h.good);
        twin t(h, 0, plant::none);
        t.whole_every = 128;
        t.books_every = 128;
        random_numbers numbers(from);
        decoder<random_numbers> draw(numbers, t.model(), t.slot_bases());
        std::uint64_t done = 0;
        const auto run = [&](std::uint64_t operations) {
            for (std::uint64_t i = 0; i < operations; ++i, ++done) {
                const operation o = draw.next();
                const std::string what = t.run(o);
                if (!what.empty()) {
                    return "operation " + std::to_string(done) + " " + text_of(o) + ": " + what;
                }
            }
            return std::string();
        };
        // Something of everything first.
        ASSERT_EQ(run(4000), "");
        for (std::uint64_t round = 0; round < rounds; ++round) {
            others.fill();
            t.at_limit = true;
            const std::uint64_t refused = t.refused;
            ASSERT_EQ(run(1500), "") << "round " << round << ", at the limit";
            EXPECT_GT(t.refused, refused) << "the limit was not met";
            // Room for a few, then for none again: what is owed is settled in part.
            others.give_back(round % 3 == 0 ? 2 : 40);
            ASSERT_EQ(run(500), "") << "round " << round << ", with little room";
            if (round % 4 == 3) {
                // Room for all: whatever is given up now is taken back, and what was owed before.
                others.give_back(others.filled());
                ASSERT_EQ(run(200), "") << "round " << round << ", with room";
                ASSERT_EQ(t.finish(), "") << "round " << round;
                // What is empty goes, or stays to be handed out again.
                if (round % 8 == 3) {
                    ASSERT_EQ(h.manager->NeedsVirtualAddressSpace(nullptr, 0x1000), S_OK);
                } else {
                    h.host->core->memory().space().settle_owed();
                }
                EXPECT_EQ(h.host->core->memory().space().owed(), 0u);
                t.at_limit = false;
                ASSERT_EQ(t.finish(), "") << "round " << round << ", settled";
                EXPECT_TRUE(t.is_window_unmapped()) << "round " << round;
                ASSERT_EQ(run(1000), "") << "round " << round << ", as if nothing had been";
            }
        }
        std::printf("%llu operations, %llu refused at the limit\n",
                    static_cast<unsigned long long>(done),
                    static_cast<unsigned long long>(t.refused));
        others.give_back(others.filled());
        ASSERT_EQ(t.finish(), "");
    }
    EXPECT_LE(test::kernel_truth::mapping_count(), mappings + 3)
        << "the kernel's map shows what is left";
}

} // namespace
} // namespace memreeve::differential
