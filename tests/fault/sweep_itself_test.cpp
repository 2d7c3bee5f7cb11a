// SPDX-License-Identifier: MIT
// The sweep sees what it is there to see: each defect planted here is found (reliability section 4,
// point 7), and a script without one is clean.
#include "prim/prim.hpp"
#include "support/fault_sweep.hpp"

#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

// A world of one counter and one page.
struct small_world {
    int value = 0;
    int broken = 0;
    address page = 0;

    small_world() {
        if (prim::map_records(page_size, &page) != 0) {
            throw std::string("no page");
        }
    }
    int capture() const { return value; }
    std::string difference(int before, int after, strictness) const {
        return before == after
                   ? ""
                   : "value " + std::to_string(before) + " became " + std::to_string(after);
    }
    std::string invariants(strictness) const { return broken == 0 ? "" : "broken"; }
};

using small_script = script<small_world>;

// Two calls; undoes the first when the second fails.
small_script careful() {
    small_script s;
    s.name = "careful";
    s.run = [](small_world& w) -> outcome {
        if (const int e = prim::protect(w.page, page_size, access::read); e != 0) {
            return {false, strerrorname_np(e)};
        }
        ++w.value;
        if (const int e = prim::protect(w.page, page_size, access::read_write); e != 0) {
            --w.value;
            return {false, strerrorname_np(e)};
        }
        return {true, ""};
    };
    s.done = [](small_world& w) {
        return w.value == 1 ? std::string() : std::string("not counted");
    };
    s.revert = [](small_world& w) { w.value = 0; };
    return s;
}

bool complains_of(const sweep_result& r, const std::string& what) {
    for (const std::string& line : r.wrong) {
        if (line.find(what) != std::string::npos) {
            return true;
        }
    }
    return false;
}

TEST(sweep_itself, passes_a_careful_script_and_counts) {
    const sweep_result r = sweep_single(careful());
    EXPECT_TRUE(r.wrong.empty()) << r.wrong.front();
    EXPECT_EQ(r.calls, 2);
    EXPECT_EQ(r.points, 2 * 2 * 5) << "points x modes x errors";
    EXPECT_EQ(r.refused, r.points);
    const sweep_result pairs = sweep_pairs(careful());
    EXPECT_EQ(pairs.points, 0) << "the first refusal ends the script";
    EXPECT_TRUE(pairs.wrong.empty());
}

TEST(sweep_itself, finds_a_change_that_stays) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        ++w.value;
        const int e = prim::protect(w.page, page_size, access::read);
        return {e == 0, "refused"};
    };
    EXPECT_TRUE(complains_of(sweep_single(s), "not as before: value 0 became 1"));
}

TEST(sweep_itself, finds_a_failure_hidden_as_success) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        w.value = prim::protect(w.page, page_size, access::read) == 0 ? 1 : 0;
        return {true, ""};
    };
    EXPECT_TRUE(complains_of(sweep_single(s), "said done, but not counted"));
}

TEST(sweep_itself, finds_a_broken_invariant) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        const int e = prim::protect(w.page, page_size, access::read);
        w.broken = e;
        w.value = e == 0 ? 1 : 0;
        return {e == 0, ""};
    };
    EXPECT_TRUE(complains_of(sweep_single(s), "but broken"));
}

TEST(sweep_itself, finds_a_refusal_that_lasts) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        static bool poisoned = false;
        const int e = prim::protect(w.page, page_size, access::read);
        poisoned = poisoned || e != 0;
        w.value = poisoned ? 0 : 1;
        return {!poisoned, "poisoned"};
    };
    EXPECT_TRUE(complains_of(sweep_single(s), "works no more after the refusal"));
}

TEST(sweep_itself, finds_a_refusal_of_what_is_never_refused) {
    small_script s = careful();
    s.never_refused = true;
    EXPECT_TRUE(complains_of(sweep_single(s), "never refused"));
}

TEST(sweep_itself, finds_a_crash) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        if (prim::protect(w.page, page_size, access::read) != 0) {
            signal(SIGSEGV, SIG_DFL); // not a sanitizer's report
            raise(SIGSEGV);
        }
        w.value = 1;
        return {true, ""};
    };
    EXPECT_TRUE(complains_of(sweep_single(s), "dies: signal 11"));
}

TEST(sweep_itself, finds_a_hang) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        while (prim::protect(w.page, page_size, access::read) != 0) {
        }
        return {true, ""};
    };
    const detail::verdict v = detail::try_point(s, {1, ENOMEM, prim::faulty::mode::forever}, {}, 1);
    EXPECT_STREQ(v.text, "hangs");
}

TEST(sweep_itself, finds_a_leaked_descriptor) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        const long fd = prim::open_read("/proc/self/maps");
        char c = 0;
        if (fd < 0 || prim::read(static_cast<int>(fd), &c, 1) < 0) {
            return {false, "not read"}; // the descriptor stays open
        }
        (void)close(static_cast<int>(fd));
        w.value = 1;
        return {true, ""};
    };
    EXPECT_TRUE(complains_of(sweep_single(s), "descriptors:"));
}

TEST(sweep_itself, finds_a_leaked_mapping) {
    small_script s = careful();
    s.run = [](small_world& w) -> outcome {
        address a = 0;
        if (prim::reserve(0, 4 << 20, prim::placement::anywhere, &a) != 0) {
            return {false, "no room"};
        }
        if (prim::protect(a, page_size, access::read) != 0) {
            return {false, "not made readable"}; // the range stays mapped
        }
        (void)prim::unmap(a, 4 << 20);
        w.value = 1;
        return {true, ""};
    };
    EXPECT_TRUE(complains_of(sweep_single(s), "mappings:"));
}

// The two counters of a pair see the same calls.
TEST(sweep_itself, hits_both_of_a_pair) {
    using namespace prim::faulty;
    address a = 0;
    ASSERT_EQ(prim::map_records(page_size, &a), 0);
    arm({1, EPERM, mode::once}, {3, EAGAIN, mode::once});
    EXPECT_EQ(prim::protect(a, page_size, access::read), EPERM);
    EXPECT_EQ(hits(), 1);
    EXPECT_FALSE(was_hit());
    EXPECT_EQ(prim::protect(a, page_size, access::read), 0);
    EXPECT_EQ(prim::protect(a, page_size, access::read), EAGAIN);
    EXPECT_EQ(prim::protect(a, page_size, access::read), 0);
    EXPECT_TRUE(was_hit());
    EXPECT_EQ(count(), 4);
    EXPECT_EQ(failed_call(), SYS_mprotect);
    arm({2, EINVAL, mode::forever, SYS_munmap});
    EXPECT_EQ(prim::protect(a, page_size, access::read), 0);
    address b = 0;
    ASSERT_EQ(prim::map_records(page_size, &b), 0);
    EXPECT_EQ(prim::unmap(b, page_size), 0);
    EXPECT_EQ(prim::unmap(a, page_size), EINVAL);
    EXPECT_EQ(prim::unmap(a, page_size), EINVAL);
    disarm();
    EXPECT_EQ(prim::unmap(a, page_size), 0);
    EXPECT_TRUE(was_hit());
}

} // namespace
} // namespace memreeve::test
