// SPDX-License-Identifier: MIT
// A thread stopped inside the map after each of its instructions, one after the other, while other
// requests change what it looks at; then it goes on, or never does (decision 18, decision 19). The
// processor's trap flag stops it, so every interleaving with one interruption is tried, none by luck.
#include "map_fixture.hpp"

#include <array>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <ucontext.h>
#include <vector>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MEMREEVE_NO_STEPS "a sanitizer's runtime would be stepped through too"
#elif !defined(__x86_64__)
#define MEMREEVE_NO_STEPS "only x86-64 has the trap flag where this looks for it"
#endif

namespace memreeve::vm {
namespace {

#if !defined(MEMREEVE_NO_STEPS)

constexpr address base = 0x123400000;
constexpr address elsewhere = base + (address{12} << 16);
constexpr greg_t trap_flag = 0x100;

extern "C" char __executable_start, etext; // by the linker

// Where `work` can be interrupted: before the k-th time that the instruction is reached.
struct point {
    greg_t instruction = 0;
    unsigned k = 0;
};

// Traces what `work` executes of this program, and runs it once more with a breakpoint in it.
class stepper {
public:
    stepper() {
        struct sigaction act {};
        act.sa_sigaction = on_trap;
        act.sa_flags = SA_SIGINFO;
        sigemptyset(&act.sa_mask);
        sigaction(SIGTRAP, &act, &before_);
        const auto begin = round_down(reinterpret_cast<address>(&__executable_start), page_size);
        const auto size = reinterpret_cast<address>(&etext) - begin;
        EXPECT_EQ(
            mprotect(reinterpret_cast<void*>(begin), size, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    }
    stepper(const stepper&) = delete;
    stepper& operator=(const stepper&) = delete;
    ~stepper() { sigaction(SIGTRAP, &before_, nullptr); }

    std::vector<point> points_of(const std::function<void()>& work) {
        traced = 0;
        doing = task::start_tracing;
        asm volatile("int3" ::: "memory");
        work();
        doing = task::stop_tracing;
        asm volatile("int3" ::: "memory");
        std::map<greg_t, unsigned> reached;
        std::vector<point> all;
        for (unsigned i = 0; i < traced; ++i) {
            all.push_back({trace[i], ++reached[trace[i]]});
        }
        return all;
    }

    // False: it did not come by there. `returns` false: it never goes on from there.
    bool run(point at, const std::function<void()>& work, const std::function<void()>& interruption,
             bool returns) {
        breakpoint = at;
        act_ = &interruption;
        goes_on = returns;
        doing = task::waiting;
        saved = *byte_at(at.instruction);
        *byte_at(at.instruction) = 0xcc; // int3
        if (sigsetjmp(out, 1) == 0) {
            work();
        }
        *byte_at(at.instruction) = saved;
        return doing == task::none;
    }

private:
    enum class task : unsigned char {
        none,
        start_tracing,
        tracing,
        stop_tracing,
        waiting,
        passing, // the breakpoint, for the next time
    };

    static volatile unsigned char* byte_at(greg_t instruction) {
        return reinterpret_cast<volatile unsigned char*>(instruction);
    }
    static void on_trap(int, siginfo_t*, void* context) {
        greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
        greg_t& flags = registers[REG_EFL];
        greg_t& next = registers[REG_RIP];
        flags &= ~trap_flag;
        switch (doing) {
        case task::start_tracing: doing = task::tracing; [[fallthrough]];
        case task::tracing:
            if (next >= reinterpret_cast<greg_t>(&__executable_start) &&
                next < reinterpret_cast<greg_t>(&etext) && traced < std::size(trace)) {
                trace[traced++] = next;
            }
            flags |= trap_flag;
            break;
        case task::stop_tracing:
        case task::none: break;
        case task::waiting:
            *byte_at(breakpoint.instruction) = saved;
            next = breakpoint.instruction;
            if (--breakpoint.k != 0) {
                doing = task::passing;
                flags |= trap_flag;
                break;
            }
            doing = task::none;
            (*act_)();
            if (!goes_on) {
                siglongjmp(out, 1);
            }
            break;
        case task::passing:
            *byte_at(breakpoint.instruction) = 0xcc;
            doing = task::waiting;
            break;
        }
    }

    static inline volatile task doing = task::none;
    static inline bool goes_on = true;
    static inline point breakpoint;
    static inline unsigned char saved = 0;
    static inline greg_t trace[20000];
    static inline unsigned traced = 0;
    static inline const std::function<void()>* act_ = nullptr;
    static inline sigjmp_buf out;
    struct sigaction before_ {};
};

struct answer {
    bool there = false;
    address run_end = 0;
    address base = 0;
    std::uint32_t protect = 0;
    page_code code = page_code::outside;
    std::uint64_t tag = 0;
    bool operator==(const answer&) const = default;
};

// What the granules at `base` and `elsewhere` hold when a test begins.
enum class shape : unsigned char { uniform, pair, record, claimed_beside, several_granules };
constexpr shape shapes[] = {shape::uniform, shape::pair, shape::record, shape::claimed_beside,
                            shape::several_granules};

struct region_map_steps_test : map_fixture {
    std::uint32_t index = 0;
    std::uint32_t life = 0;
    unsigned size = 0;
    bool beside = false; // another request holds page 6

    void begin(shape s) {
        size = s == shape::several_granules ? 70 : 9;
        index = make(base, size, 4, page_code::rw, 1);
        life = map.at(index).life.load();
        if (s == shape::pair || s == shape::several_granules) {
            EXPECT_TRUE(set(pages(base, 1, 1), page_code::rx));
        }
        if (s == shape::record) {
            EXPECT_TRUE(set(pages(base, 1, 1), page_code::rx));
            EXPECT_TRUE(set(pages(base, 3, 1), page_code::guard_r));
        }
        beside = s == shape::claimed_beside;
        if (beside) {
            EXPECT_EQ(map.claim(index, life, pages(base, 6, 1)), claim_outcome::claimed);
        }
    }
    void end() {
        if (beside) {
            map.unclaim(pages(base, 6, 1));
            beside = false;
        }
        EXPECT_STREQ(map.check_invariants(), nullptr);
        for (const address at : {base, elsewhere}) {
            if (map.find(at).index != 0) {
                release(at);
            }
        }
        ASSERT_STREQ(map.check_invariants(), nullptr);
    }
    std::uint32_t make(address at, unsigned pages_of_it, std::uint32_t protect, page_code code,
                       std::uint64_t tag) {
        const range where = pages(at, 0, pages_of_it);
        const std::uint32_t made = map.make(where, owner_id::root, protect, 0, tag);
        EXPECT_TRUE(map.prepare(where));
        map.install(made, code);
        return made;
    }
    // The whole reservation, unless somebody holds a page of it.
    bool try_release() {
        if (map.claim(index, life, pages(base, 0, size)) != claim_outcome::claimed) {
            return false;
        }
        map.remove(index);
        map.forget(index);
        return true;
    }

    stepper steps;
    unsigned interrupted = 0;
    // try_it(point) for every point of `work`, each time beginning with `s` and then `prepare`.
    template <class Try>
    void at_every_point(
        shape s, const std::function<void()>& work, Try&& try_it,
        const std::function<void()>& prepare = [] {}) {
        begin(s);
        prepare();
        const std::vector<point> all = steps.points_of(work);
        map.unclaim(pages(base, 0, size)); // whatever it was
        beside = false;
        end();
        for (const point& p : all) {
            begin(s);
            prepare();
            try_it(p);
            ++interrupted;
            if (HasFatalFailure()) {
                return;
            }
            end();
        }
    }

    // What other requests do meanwhile.
    struct interruption {
        const char* name;
        std::function<void()> act;
        bool frees = false; // the page is free in between
    };
    std::vector<interruption> changes() {
        return {
            {"a neighbour is published", [&] { set(pages(base, 5, 1), page_code::r); }},
            {"the page is published", [&] { set(pages(base, 1, 1), page_code::guard_rwx); }},
            {"all is published", [&] { set(pages(base, 0, size), page_code::reserved); }},
            {"there and back",
             [&] {
                 set(pages(base, 1, 1), page_code::noaccess);
                 set(pages(base, 2, 1), page_code::rwx);
                 set(pages(base, 1, 2), page_code::rw);
             }},
            {"another reservation in its place, with its record",
             [&] {
                 if (try_release()) {
                     EXPECT_EQ(make(base, 3, 0x40, page_code::r, 2), index);
                 }
             },
             true},
            {"another one with several kinds of pages",
             [&] {
                 if (try_release()) {
                     make(base, 40, 0x204, page_code::noaccess, 3);
                     set(pages(base, 1, 1), page_code::rw);
                     set(pages(base, 2, 1), page_code::rx);
                 }
             },
             true},
            {"its record for one elsewhere, of another shape",
             [&] {
                 if (try_release()) {
                     EXPECT_EQ(make(elsewhere, 16, 0x102, page_code::rwx, 4), index);
                     set(pages(elsewhere, 1, 1), page_code::r);
                     set(pages(elsewhere, 2, 1), page_code::guard_rw);
                 }
             },
             true},
            {"away and the same again",
             [&] {
                 if (try_release()) {
                     make(base, 2, 0x80, page_code::r, 5);
                     release(base);
                     EXPECT_EQ(make(base, size, 4, page_code::rw, 1), index);
                 }
             },
             true},
        };
    }

    answer by_query(address a) const {
        run_view v;
        if (!map.query(a, v)) {
            return {};
        }
        return {true, v.run_end, v.base, v.protect, v.code, 0};
    }
    answer by_find(address a) const {
        const found f = map.find(a);
        if (f.index == 0) {
            return {};
        }
        EXPECT_EQ(f.index, index);
        return {true, f.run_end, f.whole.begin, f.protect, f.code, f.tag};
    }
};

TEST_F(region_map_steps_test, a_reader_tells_one_state_whatever_happens_meanwhile) {
    for (const shape s : shapes) {
        for (unsigned which = 0; which < changes().size(); ++which) {
            for (const bool query : {true, false}) {
                for (const unsigned page : {1u, 6u}) {
                    const address a = base + bytes_of(page) + 99;
                    answer got;
                    const auto look = [&] { return query ? by_query(a) : by_find(a); };
                    at_every_point(
                        s, [&] { got = look(); },
                        [&](const point& p) {
                            const answer before = look();
                            const auto all = changes();
                            const std::string where = std::string(all[which].name) + ", shape " +
                                                      std::to_string(static_cast<int>(s)) +
                                                      (query ? ", query" : ", find");
                            steps.run(
                                p, [&] { got = look(); }, all[which].act, true);
                            const answer after = look();
                            const bool right = got == before || got == after ||
                                               (all[which].frees && got == answer{});
                            // Of several granules each may be of an instant of its own.
                            const bool of_instants =
                                s == shape::several_granules && got.there && got.base == base &&
                                (got.code == before.code || got.code == after.code) &&
                                (got.protect == before.protect || got.protect == after.protect);
                            ASSERT_TRUE(right || of_instants)
                                << where << std::hex << ", before the instruction at "
                                << p.instruction << ": [" << a << ", " << got.run_end << ") "
                                << static_cast<int>(got.code) << " protect " << got.protect
                                << " tag " << got.tag;
                        });
                }
            }
        }
    }
    std::printf("%u interruptions\n", interrupted);
    EXPECT_GT(interrupted, 5000u);
}

TEST_F(region_map_steps_test, next_base_skips_nothing_that_stays) {
    const address fixed = base + (address{9} << 16);
    make(fixed, 4, 4, page_code::rw, 9);
    for (const shape s : shapes) {
        for (unsigned which = 0; which < changes().size(); ++which) {
            address got = 0;
            const auto work = [&] { got = map.next_base(base + granule_size); };
            const auto from_base = [&] { got = map.next_base(base); };
            for (const bool at_base : {true, false}) {
                const std::function<void()> job = at_base ? std::function<void()>(from_base) : work;
                at_every_point(s, job, [&](const point& p) {
                    const auto all = changes();
                    steps.run(p, job, all[which].act, true);
                    const bool right = got == fixed || (at_base && got == base);
                    ASSERT_TRUE(right && (!at_base || got == base || all[which].frees))
                        << all[which].name << ", shape " << static_cast<int>(s) << std::hex
                        << ", before the instruction at " << p.instruction << ": " << got;
                });
            }
        }
    }
    release(fixed);
}

// A claim is of the life it was asked for, is held alone, and what it ends in is what is published;
// nothing of it is left in a later life.
TEST_F(region_map_steps_test, a_claim_survives_every_change_or_notices_it) {
    unsigned outcomes[4] = {};
    for (const shape s : shapes) {
        for (unsigned which = 0; which < changes().size(); ++which) {
            for (const unsigned count : {2u, 9u}) {
                const range part = pages(base, 0, count);
                claim_outcome got = claim_outcome::busy;
                const auto work = [&] { got = map.claim(index, life, part); };
                at_every_point(s, work, [&](const point& p) {
                    const auto all = changes();
                    steps.run(p, work, all[which].act, true);
                    ++outcomes[static_cast<unsigned>(got)];
                    ASSERT_STREQ(check_with_claims(), nullptr);
                    const std::string where = std::string(all[which].name) + ", shape " +
                                              std::to_string(static_cast<int>(s));
                    const found now = map.find(base);
                    if (got == claim_outcome::claimed) {
                        ASSERT_EQ(now.life, life) << where;
                        ASSERT_NE(map.claim(index, life, pages(base, 1, 1)),
                                  claim_outcome::claimed);
                        map.publish(part, page_code::rwx, false);
                        for (unsigned page = 0; page < count; ++page) {
                            ASSERT_EQ(map.find(base + bytes_of(page)).code, page_code::rwx);
                        }
                    } else if (got == claim_outcome::changed) {
                        ASSERT_NE(now.life, life) << where;
                    } else {
                        ASSERT_TRUE(beside && count > 6) << where;
                    }
                });
            }
        }
    }
    EXPECT_GT(outcomes[0], 100u);
    EXPECT_GT(outcomes[1], 100u);
    EXPECT_GT(outcomes[2], 100u);
}

// Ending a claim beside others that begin and end.
TEST_F(region_map_steps_test, a_claim_that_ends_leaves_neighbours_alone) {
    for (const shape s : shapes) {
        for (const bool publishes : {true, false}) {
            for (unsigned which = 0; which < 4; ++which) {
                const range part = pages(base, 0, 2);
                const auto work = [&] {
                    if (publishes) {
                        map.publish(part, page_code::rwx, false);
                    } else {
                        map.unclaim(part);
                    }
                };
                const auto claim = [&] {
                    ASSERT_EQ(map.claim(index, life, part), claim_outcome::claimed);
                };
                at_every_point(
                    s, work,
                    [&](const point& p) {
                        const page_code first = map.find(base).code;
                        bool held = false;
                        const std::function<void()> acts[] = {
                            [&] { EXPECT_TRUE(set(pages(base, 5, 1), page_code::r)); },
                            [&] {
                                held = map.claim(index, life, pages(base, 4, 2)) ==
                                       claim_outcome::claimed;
                                EXPECT_TRUE(held);
                            },
                            [&] {
                                if (beside) {
                                    map.publish(pages(base, 6, 1), page_code::noaccess, false);
                                    beside = false;
                                }
                            },
                            [&] {
                                set(pages(base, 2, 3), page_code::guard_r);
                                set(pages(base, 5, 1), page_code::rw);
                                set(pages(base, 2, 3), page_code::rw);
                            },
                        };
                        steps.run(p, work, acts[which], true);
                        ASSERT_STREQ(check_with_claims(), nullptr);
                        ASSERT_EQ(map.find(base).code, publishes ? page_code::rwx : first);
                        if (held) {
                            ASSERT_EQ(map.claim(index, life, pages(base, 5, 1)),
                                      claim_outcome::busy);
                            map.unclaim(pages(base, 4, 2));
                        }
                        ASSERT_TRUE(set(part, page_code::x)) << "its claim is over";
                    },
                    claim);
            }
        }
    }
}

// Stopped for ever, before every instruction of every change: others go on, page by page, and a child
// that is forked there has a map in order.
TEST_F(region_map_steps_test, a_thread_that_never_goes_on_keeps_its_own_pages_only) {
    struct job {
        const char* name;
        range held; // pages of the granule, while it works
        std::function<void()> work;
    };
    const std::array<job, 5> jobs = {{
        {"claim and publish of a page", {1, 2}, [&] { set(pages(base, 1, 1), page_code::r); }},
        {"claim and unclaim of two pages",
         {1, 3},
         [&] {
             if (map.claim(index, life, pages(base, 1, 2)) == claim_outcome::claimed) {
                 map.unclaim(pages(base, 1, 2));
             }
         }},
        {"claim and publish of all", {0, 9}, [&] { set(pages(base, 0, size), page_code::r); }},
        {"release", {0, 9}, [&] { try_release(); }},
        {"a new reservation",
         {0, 0},
         [&] {
             make(elsewhere + (address{1} << 20), 40, 4, page_code::rw, 7);
             make(elsewhere + (address{2} << 20), 4, 4, page_code::rw, 8);
         }},
    }};
    for (const shape s : shapes) {
        for (const job& j : jobs) {
            begin_anew();
            begin(s);
            const std::vector<point> all = steps.points_of(j.work);
            interrupted = 0;
            for (const point& p : all) {
                // A map of its own each time: what such a thread had in hand is lost.
                begin_anew();
                begin(s);
                interrupted += steps.run(
                                   p, j.work, [] {}, false)
                                   ? 1U
                                   : 0U; // the last are of the tracer
                const std::string where =
                    std::string(j.name) + ", shape " + std::to_string(static_cast<int>(s));
                run_view v;
                for (unsigned page = 0; page < 9; ++page) {
                    const bool free = !map.query(base + bytes_of(page), v);
                    ASSERT_TRUE(!free || std::string(j.name) == "release");
                    const bool mine = page >= j.held.begin && page < j.held.end;
                    if (!mine && !(beside && page == 6)) {
                        ASSERT_TRUE(set(pages(base, page, 1), page_code::guard_rw)) << where;
                        ASSERT_TRUE(map.query(base + bytes_of(page), v));
                        ASSERT_EQ(v.code, page_code::guard_rw);
                    }
                }
                map.settle_after_fork([](range, std::uint32_t, page_code, bool) {});
                for (std::uint32_t i = 1; i < reservations.used(); ++i) {
                    map.at(i).living.store(map.at(i).pages.load());
                }
                ASSERT_STREQ(map.check_invariants(), nullptr)
                    << where << std::hex << ", before the instruction at " << p.instruction;
                if (const found f = map.find(base); f.index != 0) {
                    ASSERT_TRUE(set(f.whole, page_code::rx)) << "no claim is left";
                }
                beside = false;
            }
            EXPECT_GT(interrupted, 100u);
            EXPECT_GT(interrupted + 20, all.size());
        }
    }
    begin_anew();
}

#else

TEST(region_map_steps_test, is_skipped) { std::printf("skipped: %s\n", MEMREEVE_NO_STEPS); }

#endif

} // namespace
} // namespace memreeve::vm
