// SPDX-License-Identifier: MIT
// Every system call of what Win32 has and the interface has not fails in turn: write watch, placeholders,
// locked pages, TOP_DOWN, RESET_UNDO (rules WW, PH, L, A10, A18).
#include "fault/host_world.hpp"

#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

using vm::page_code;

constexpr byte_count granule = granule_size;
constexpr std::uint32_t reserve_commit = w32::mem_reserve | w32::mem_commit;
constexpr std::uint32_t make_placeholder = w32::mem_reserve | w32::mem_reserve_placeholder;
constexpr std::uint32_t replace = reserve_commit | w32::mem_replace_placeholder;
constexpr std::uint32_t preserve = w32::mem_release | w32::mem_preserve_placeholder;
constexpr std::uint32_t coalesce = w32::mem_release | w32::mem_coalesce_placeholders;

void release_a(host_world& w) { w.release(w.a); }

outcome alloc2(host_world& w, address where, byte_count size, std::uint32_t type,
               std::uint32_t protect, address* out = nullptr) {
    const auto r =
        w.memory().virtual_alloc2(w.owner, where, size, type, protect, criticality::process);
    if (r && out != nullptr) {
        *out = *r;
    }
    return host_world::outcome_of(r);
}

bool can_watch(host_world& w) { return w.memory().space().can_watch(); }

// What a first use leaves for good is there.
void warm_up(host_world& w) {
    address a = 0;
    if (can_watch(w)) {
        w.must(w.alloc(0, granule, w32::mem_reserve | w32::mem_write_watch, 4, &a), "watched");
        w.release(a);
    }
    w.must(alloc2(w, 0, granule, make_placeholder, 1, &a), "placeholder");
    w.must(w.free(a, 0, w32::mem_release), "release the placeholder");
}

// 16 pages at w.a: a placeholder of 4, an allocation of 4 that is committed, a placeholder of 8.
void area(host_world& w) {
    w.must(alloc2(w, 0, granule, make_placeholder, 1, &w.a), "placeholder");
    w.must(w.free(w.a + bytes_of(4), bytes_of(4), preserve), "split");
    w.must(alloc2(w, w.a + bytes_of(4), bytes_of(4), replace, 4), "replace");
    w.fill(w.a + bytes_of(4), 4);
}
void release_area(host_world& w) {
    for (address at = w.a; at < w.a + granule;) {
        const vm::found f = w.at(at);
        at = f.whole.end > at ? f.whole.end : w.a + granule;
        if (f.index != 0) {
            w.release(f.whole.begin);
        }
    }
}
std::string expect_piece(host_world& w, page_count first, page_count pages, bool is_bare) {
    const vm::found f = w.at(w.a + bytes_of(first));
    const range wanted{w.a + bytes_of(first), w.a + bytes_of(first + pages)};
    if (f.whole != wanted || ((f.flags & vm::bare_piece) != 0) != is_bare) {
        return text_of("page %lu is not the piece wanted", first);
    }
    return "";
}

void watched_with_runs(host_world& w, page_count runs) {
    w.must(w.alloc(0, 2 << 20, reserve_commit | w32::mem_write_watch, 4, &w.a), "watched");
    for (page_count i = 0; i < runs; ++i) {
        w.fill(w.a + bytes_of(2 * i), 1);
    }
}

std::vector<host_script> extended_scripts() {
    std::vector<host_script> list;
    const auto add =
        [&](const char* name, void (*prepare)(host_world&), std::function<outcome(host_world&)> run,
            std::function<std::string(host_world&)> done, void (*revert)(host_world&) = release_a) {
            host_script s;
            s.name = name;
            s.prepare = prepare;
            s.run = std::move(run);
            s.done = std::move(done);
            s.revert = revert;
            list.push_back(std::move(s));
        };
    // ---- write watch ------------------------------------------------------------------------------
    static constinit vm::write_watch
        probe; // a host_world of the parent would be its children's too
    if (probe.is_supported()) {
        for (const bool at_an_address : {false, true}) {
            add(at_an_address ? "watched_at_an_address" : "watched",
                at_an_address ? [](host_world& w) {
                    warm_up(w);
                    w.a = w.reserved(granule); // in an arena
                    w.release(w.a);
                }
                              : warm_up,
                [=](host_world& w) {
                    return w.alloc(at_an_address ? w.a : 0, granule,
                                   reserve_commit | w32::mem_write_watch, 4, &w.a);
                },
                [](host_world& w) {
                    w.fill(w.a, 2);
                    void* pages[16];
                    const auto told = w.memory().written_pages(w.a, granule, false, pages, 16);
                    const std::string wrong = told && *told == 2 ? "" : "two pages were written to";
                    return wrong.empty() ? w.expect_code(w.a, 16, page_code::rw) : wrong;
                });
        }
        add(
            "reading_written_pages",
            [](host_world& w) {
                warm_up(w);
                watched_with_runs(w, 40);
                w.word = 0;
            },
            [](host_world& w) -> outcome {
                void* pages[512];
                const auto told = w.memory().written_pages(w.a, 2 << 20, true, pages, 512);
                w.word = told ? *told : 0;
                return w.outcome_of(told);
            },
            [](host_world& w) {
                // None reset untold, also not by a call that failed.
                return w.word == 40 ? std::string() : text_of("%lu pages were told", w.word);
            });
    }
    // ---- placement, reset ---------------------------------------------------------------------------
    add(
        "top_down", [](host_world&) {},
        [](host_world& w) {
            return w.alloc(0, granule, reserve_commit | w32::mem_top_down, 4, &w.a);
        },
        [](host_world& w) { return w.expect_code(w.a, 16, page_code::rw); });
    add(
        "reset_undo",
        [](host_world& w) {
            w.a = w.reserved(granule);
            w.commit_filled(w.a, 4);
            w.must(w.alloc(w.a, bytes_of(4), w32::mem_reset, 4), "reset");
        },
        [](host_world& w) { return w.alloc(w.a, bytes_of(4), w32::mem_reset_undo, 4); },
        [](host_world& w) { return w.expect_filled(w.a, 4); });
    // ---- placeholders -------------------------------------------------------------------------------
    add(
        "placeholder_first", [](host_world&) {},
        [](host_world& w) { return alloc2(w, 0, granule, make_placeholder, 1, &w.a); },
        [](host_world& w) { return expect_piece(w, 0, 16, true); }, release_area);
    add(
        "placeholder", warm_up,
        [](host_world& w) { return alloc2(w, 0, granule, make_placeholder, 1, &w.a); },
        [](host_world& w) { return expect_piece(w, 0, 16, true); }, release_area);
    add(
        "split", area,
        [](host_world& w) { return w.free(w.a + bytes_of(10), bytes_of(2), preserve); },
        [](host_world& w) {
            const std::string wrong = expect_piece(w, 10, 2, true);
            return wrong.empty() ? expect_piece(w, 12, 4, true) : wrong;
        },
        release_area);
    add(
        "replace", area,
        [](host_world& w) { return alloc2(w, w.a + bytes_of(8), bytes_of(8), replace, 4); },
        [](host_world& w) {
            const std::string wrong = expect_piece(w, 8, 8, false);
            return wrong.empty() ? w.expect_zeroes(w.a + bytes_of(8), 8) : wrong;
        },
        release_area);
    add(
        "preserve", area,
        [](host_world& w) { return w.free(w.a + bytes_of(4), bytes_of(4), preserve); },
        [](host_world& w) { return expect_piece(w, 4, 4, true); }, release_area);
    add(
        "coalesce",
        [](host_world& w) {
            area(w);
            w.must(w.free(w.a + bytes_of(4), bytes_of(4), preserve), "preserve");
        },
        [](host_world& w) { return w.free(w.a, granule, coalesce); },
        [](host_world& w) { return expect_piece(w, 0, 16, true); }, release_area);
    add(
        "release_piece", area,
        [](host_world& w) { return w.free(w.a + bytes_of(4), 0, w32::mem_release); },
        [](host_world& w) {
            const std::string wrong = w.expect_free(w.a + bytes_of(5));
            return wrong.empty() ? expect_piece(w, 8, 8, true) : wrong;
        },
        release_area);
    list.back().never_refused = true;
    add(
        "release_last_piece",
        [](host_world& w) {
            area(w);
            w.release(w.a);
            w.release(w.a + bytes_of(8));
        },
        [](host_world& w) { return w.free(w.a + bytes_of(4), 0, w32::mem_release); },
        [](host_world& w) {
            const bool is_gone = (w.at(w.a).flags & vm::placeholder) == 0;
            w.settle();
            return is_gone ? w.expect_free(w.a + bytes_of(5))
                           : std::string("the area is still there");
        },
        [](host_world&) {});
    list.back().never_refused = true;
    // ---- locked pages ---------------------------------------------------------------------------------
    const auto committed = [](host_world& w) {
        w.a = w.reserved(granule);
        w.commit_filled(w.a, 10);
    };
    const auto is_locked = [](host_world& w, page_count first, page_count pages) {
        return w.memory().virtual_unlock(w.a + bytes_of(first), bytes_of(pages)).has_value();
    };
    add(
        "lock", committed,
        [](host_world& w) {
            return w.outcome_of(w.memory().virtual_lock(w.a + page_size, bytes_of(4)));
        },
        [=](host_world& w) {
            return is_locked(w, 1, 4) ? std::string() : std::string("not locked");
        });
    add(
        "unlock",
        [](host_world& w) {
            w.a = w.reserved(granule);
            w.commit_filled(w.a, 10);
            w.must(w.outcome_of(w.memory().virtual_lock(w.a, bytes_of(10))), "lock");
        },
        [](host_world& w) {
            return w.outcome_of(w.memory().virtual_unlock(w.a + page_size, bytes_of(4)));
        },
        [=](host_world& w) {
            const bool kept = is_locked(w, 0, 1) && is_locked(w, 5, 5);
            return kept && !is_locked(w, 1, 1) ? std::string() : std::string("not as wanted");
        });
    add(
        "decommit_locked",
        [](host_world& w) {
            w.a = w.reserved(granule);
            w.commit_filled(w.a, 10);
            w.must(w.outcome_of(w.memory().virtual_lock(w.a, bytes_of(10))), "lock");
        },
        [](host_world& w) { return w.free(w.a + page_size, bytes_of(4), w32::mem_decommit); },
        [=](host_world& w) {
            for (page_count i = 1; i < 5; ++i) {
                if (!vm::is_reserved(w.at(w.a + bytes_of(i)).code)) {
                    return text_of("page %lu is not reserved", i);
                }
            }
            w.commit(w.a + page_size, 4);
            const std::string wrong = w.expect_zeroes(w.a + page_size, 4);
            return wrong.empty() ? w.expect_filled(w.a + bytes_of(5), 5, 5) : wrong;
        });
    list.back().never_refused = true;
    return list;
}

class extended_sweep : public testing::TestWithParam<std::size_t> {};

TEST_P(extended_sweep, single_faults) {
    const host_script s = extended_scripts()[GetParam()];
    report("single", s.name, sweep_single(s));
}

// Reading and resetting is one step up to 64 runs; what earlier steps reset is taken back.
int between_two_steps() {
    host_world w;
    if (!can_watch(w)) {
        return 77;
    }
    watched_with_runs(w, 200);
    void* pages[512];
    // The second and the third reading: after registering and the first one.
    for (const long nth : {3, 4}) {
        prim::faulty::arm({nth, EAGAIN, prim::faulty::mode::once, SYS_ioctl});
        const auto told = w.memory().written_pages(w.a, 2 << 20, true, pages, 512);
        prim::faulty::disarm();
        if (!prim::faulty::was_hit() || told) {
            return 1;
        }
    }
    const auto told = w.memory().written_pages(w.a, 2 << 20, true, pages, 512);
    return told && *told == 200 ? 0 : 2;
}

TEST(extended, WW3_a_failure_between_two_steps_resets_nothing) {
    const pid_t child = fork(); // a world of this process would be the sweeps' children's too
    if (child == 0) {
        _exit(between_two_steps());
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        GTEST_SKIP() << "skipped: this system does not watch writes (decision 9)";
    }
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

INSTANTIATE_TEST_SUITE_P(fault, extended_sweep,
                         testing::Range<std::size_t>(0, extended_scripts().size()),
                         [](const auto& tested) { return extended_scripts()[tested.param].name; });

} // namespace
} // namespace memreeve::test
