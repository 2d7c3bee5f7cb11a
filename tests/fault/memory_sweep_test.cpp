// SPDX-License-Identifier: MIT
// Every system call of every operation on virtual memory fails in turn (F1, F2, F5; rules A, F, V).
#include "fault/host_world.hpp"

#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

using vm::page_code;

constexpr std::uint32_t reserve_commit = w32::mem_reserve | w32::mem_commit;
constexpr byte_count granule = granule_size;

// 16 pages at w.a: reserved, r, rw, guard, noaccess, rx, reserved ...
void mixed(host_world& w) {
    w.a = w.reserved(granule);
    w.commit_filled(w.a + bytes_of(1), 2, w32::page_readonly);
    w.commit_filled(w.a + bytes_of(4), 2);
    w.commit_filled(w.a + bytes_of(6), 1, w32::page_readwrite | w32::page_guard);
    w.commit_filled(w.a + bytes_of(7), 1, w32::page_noaccess);
    w.commit_filled(w.a + bytes_of(8), 2, w32::page_execute_read);
}
// The same without holes: pages 0 to 9.
void mixed_committed(host_world& w) {
    w.a = w.reserved(granule);
    w.commit_filled(w.a, 2, w32::page_readonly);
    w.commit_filled(w.a + bytes_of(2), 2);
    w.commit_filled(w.a + bytes_of(4), 2, w32::page_readwrite | w32::page_guard);
    w.commit_filled(w.a + bytes_of(6), 2, w32::page_noaccess);
    w.commit_filled(w.a + bytes_of(8), 2, w32::page_execute_readwrite);
}
// The kernel would not hold what was decommitted as its reservation is held (page_state.hpp).
void with_slack(host_world& w) {
    w.a = w.reserved(granule);
    w.commit_filled(w.a + bytes_of(2), 4);
    const std::uint32_t flags = w.at(w.a).flags;
    const bool guarded = (flags & (vm::guarded_space | vm::relaxed_space)) == vm::guarded_space;
    if ((flags & vm::relaxed_space) != 0) {
        w.must(w.protect(w.a + bytes_of(2), bytes_of(4), w32::page_readonly), "protect");
    }
    prim::faulty::arm(
        guarded ? prim::faulty::fault{1, ENOMEM, prim::faulty::mode::once, SYS_madvise}
                : prim::faulty::fault{1, ENOMEM, prim::faulty::mode::forever, SYS_mprotect});
    const outcome o = w.free(w.a + bytes_of(2), bytes_of(4), w32::mem_decommit);
    prim::faulty::disarm();
    w.must(o, "decommit that leaves slack");
    if (w.at(w.a + bytes_of(2)).code != page_code::reserved_writable) {
        throw std::string("no slack was made");
    }
}
// All pages decommitted together: in a dense world they stay, and are nobody's.
void warm_of(host_world& w, byte_count size) {
    w.a = w.reserved(size);
    w.commit_filled(w.a, pages_of(size));
    w.must(w.free(w.a, size, w32::mem_decommit), "decommit");
    if (host_world::dense && (w.at(w.a).code != page_code::reserved_writable ||
                              w.memory().space().warm_pages(w.owner) < pages_of(size))) {
        throw std::string("nothing is warm");
    }
}
void warm(host_world& w) { warm_of(w, granule); }
void warm_free(host_world& w) {
    warm(w);
    w.release(w.a);
    if (host_world::dense && w.memory().space().warm_pages(w.owner) < 16) {
        throw std::string("nothing is warm");
    }
}
void release_a(host_world& w) { w.release(w.a); }
// An address that nobody uses, outside the arenas.
address free_place(byte_count size) {
    void* p = mmap(nullptr, size + granule, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    munmap(p, size + granule);
    return round_up(reinterpret_cast<address>(p), granule);
}

host_script reserving(const char* name, byte_count size, std::uint32_t type, std::uint32_t protect,
                      page_code code) {
    host_script s;
    s.name = name;
    s.run = [=](host_world& w) { return w.alloc(0, size, type, protect, &w.a); };
    s.done = [=](host_world& w) {
        const std::string wrong =
            w.expect_code(w.a, std::min<page_count>(pages_of(size), 64), code);
        const page_count pages = std::min<page_count>(pages_of(size), 16);
        return !wrong.empty() || vm::use_of(code) == access::none ? wrong
                                                                  : w.expect_zeroes(w.a, pages);
    };
    s.revert = release_a;
    return s;
}

host_script committing(const char* name, void (*prepare)(host_world&), page_count first,
                       page_count pages, std::uint32_t protect, page_code code) {
    host_script s;
    s.name = name;
    s.prepare = prepare;
    s.run = [=](host_world& w) {
        return w.alloc(w.a + bytes_of(first), bytes_of(pages), w32::mem_commit, protect);
    };
    s.done = [=](host_world& w) { return w.expect_code(w.a + bytes_of(first), pages, code); };
    s.revert = release_a;
    return s;
}

host_script protecting(const char* name, void (*prepare)(host_world&), page_count first,
                       page_count pages, std::uint32_t protect, page_code code) {
    host_script s = committing(name, prepare, first, pages, protect, code);
    s.run = [=](host_world& w) {
        return w.protect(w.a + bytes_of(first), bytes_of(pages), protect);
    };
    return s;
}

// Decommitted pages are reserved, or stand as slack; and read zeroes when they come back (S2).
std::string is_decommitted(host_world& w, address where, page_count pages) {
    for (page_count i = 0; i < pages; ++i) {
        if (!vm::is_reserved(w.at(where + bytes_of(i)).code)) {
            return text_of("page %lu is not reserved", i);
        }
    }
    w.commit(where, pages);
    std::string wrong = w.expect_zeroes(where, pages);
    w.must(w.free(where, bytes_of(pages), w32::mem_decommit), "decommit once more");
    return wrong;
}

host_script decommitting(const char* name, void (*prepare)(host_world&), page_count first,
                         page_count pages) {
    host_script s;
    s.name = name;
    s.never_refused = true;
    s.prepare = prepare;
    s.run = [=](host_world& w) {
        return w.free(w.a + bytes_of(first), bytes_of(pages), w32::mem_decommit);
    };
    s.done = [=](host_world& w) {
        return is_decommitted(w, w.a + bytes_of(first), pages == 0 ? 16 : pages);
    };
    s.revert = release_a;
    return s;
}

host_script releasing(const char* name, void (*prepare)(host_world&)) {
    host_script s;
    s.name = name;
    s.never_refused = true;
    s.prepare = prepare;
    s.run = [](host_world& w) { return w.free(w.a, 0, w32::mem_release); };
    s.done = [](host_world& w) {
        const std::string wrong = w.expect_free(w.a);
        w.settle();
        return wrong;
    };
    return s;
}

void placed_prepare(host_world& w) {
    w.a = free_place(granule);
    w.must(w.alloc(w.a, granule, reserve_commit, w32::page_readwrite), "reserve at an address");
    w.fill(w.a, 16);
}

std::vector<host_script> memory_scripts() {
    std::vector<host_script> list;
    // ---- reserve (A8, A9) -----------------------------------------------------------------------
    list.push_back(
        reserving("reserve", granule, w32::mem_reserve, w32::page_noaccess, page_code::reserved));
    list.push_back(reserving("reserve_commit_rw", granule, reserve_commit, w32::page_readwrite,
                             page_code::rw));
    list.push_back(
        reserving("reserve_commit_r", granule, reserve_commit, w32::page_readonly, page_code::r));
    list.push_back(reserving("reserve_commit_guard", granule, reserve_commit,
                             w32::page_readwrite | w32::page_guard, page_code::guard_rw));
    list.push_back(reserving("reserve_commit_odd_size", 5 * page_size, reserve_commit,
                             w32::page_readwrite, page_code::rw));
    list.push_back(reserving("reserve_2_mib", 2 << 20, w32::mem_reserve, w32::page_noaccess,
                             page_code::reserved));
    list.push_back(reserving("reserve_commit_2_mib", 2 << 20, reserve_commit, w32::page_readwrite,
                             page_code::rw));
    list.push_back(reserving("reserve_placed_512_mib", 512 << 20, w32::mem_reserve,
                             w32::page_noaccess, page_code::reserved));
#ifdef __SANITIZE_THREAD__
    // ThreadSanitizer leaves 1.5 TiB to mappings, and libraries lie in the middle of them.
    constexpr byte_count very_large = byte_count{1} << 36;
#else
    constexpr byte_count very_large = byte_count{1} << 40;
#endif
    list.push_back(reserving("reserve_placed_very_large", very_large, w32::mem_reserve,
                             w32::page_noaccess, page_code::reserved));
    {
        host_script s = reserving("reserve_in_a_used_arena", granule, w32::mem_reserve,
                                  w32::page_noaccess, page_code::reserved);
        s.prepare = [](host_world& w) { w.b = w.reserved(granule); };
        s.revert = [](host_world& w) {
            w.release(w.a);
            w.release(w.b);
        };
        list.push_back(s);
    }
    for (const bool commits : {false, true}) {
        host_script s;
        s.name = commits ? "reserve_commit_at_an_address" : "reserve_at_an_address";
        s.prepare = [](host_world& w) { w.a = free_place(4 * granule); };
        s.run = [=](host_world& w) {
            return w.alloc(w.a, granule, commits ? reserve_commit : w32::mem_reserve,
                           w32::page_readwrite);
        };
        s.done = [=](host_world& w) {
            return w.expect_code(w.a, 16, commits ? page_code::rw : page_code::reserved);
        };
        s.revert = release_a;
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "reserve_at_an_address_of_the_arena";
        s.prepare = [](host_world& w) {
            w.a = w.reserved(granule);
            w.release(w.a);
        };
        s.run = [](host_world& w) {
            return w.alloc(w.a, granule, reserve_commit, w32::page_readwrite);
        };
        s.done = [](host_world& w) { return w.expect_code(w.a, 16, page_code::rw); };
        s.revert = release_a;
        list.push_back(s);
    }
    // ---- commit (A11 to A14) ------------------------------------------------------------------------
    const auto plain = [](host_world& w) { w.a = w.reserved(granule); };
    list.push_back(committing("commit_middle", plain, 4, 4, w32::page_readwrite, page_code::rw));
    list.push_back(
        committing("commit_all", plain, 0, 16, w32::page_execute_readwrite, page_code::rwx));
    list.push_back(
        committing("commit_noaccess", plain, 4, 4, w32::page_noaccess, page_code::noaccess));
    list.push_back(
        committing("commit_over_mixed_rw", mixed, 0, 12, w32::page_readwrite, page_code::rw));
    list.push_back(
        committing("commit_over_mixed_r", mixed, 0, 12, w32::page_readonly, page_code::r));
    list.push_back(committing("commit_over_mixed_guard", mixed, 0, 12,
                              w32::page_readwrite | w32::page_guard, page_code::guard_rw));
    list.push_back(committing("recommit_rearms_guards", mixed_committed, 2, 6,
                              w32::page_readwrite | w32::page_guard, page_code::guard_rw));
    list.push_back(
        committing("commit_over_slack", with_slack, 0, 8, w32::page_readwrite, page_code::rw));
    list.push_back(
        committing("commit_over_slack_r", with_slack, 0, 8, w32::page_readonly, page_code::r));
    {
        // 4 MiB: the change crosses nodes of the map.
        host_script s =
            committing("commit_across_nodes", plain, 0, 0, w32::page_readwrite, page_code::rw);
        s.prepare = [](host_world& w) { w.a = w.reserved(8 << 20); };
        s.run = [](host_world& w) {
            return w.alloc(w.a + (1 << 20) + page_size, 6 << 20, w32::mem_commit,
                           w32::page_readwrite);
        };
        s.done = [](host_world& w) {
            return w.expect_code(w.a + (1 << 20) + page_size, pages_of(6 << 20), page_code::rw);
        };
        list.push_back(s);
    }
    // ---- protect (V) --------------------------------------------------------------------------------
    const auto committed = [](host_world& w) {
        w.a = w.reserved(granule);
        w.commit_filled(w.a, 10);
    };
    list.push_back(protecting("protect_one", committed, 4, 1, w32::page_readonly, page_code::r));
    list.push_back(protecting("protect_guard", committed, 2, 4,
                              w32::page_readwrite | w32::page_guard, page_code::guard_rw));
    list.push_back(
        protecting("protect_mixed_r", mixed_committed, 0, 10, w32::page_readonly, page_code::r));
    list.push_back(protecting("protect_mixed_noaccess", mixed_committed, 0, 10, w32::page_noaccess,
                              page_code::noaccess));
    list.push_back(
        protecting("protect_mixed_rw", mixed_committed, 0, 10, w32::page_readwrite, page_code::rw));
    list.push_back(protecting("protect_mixed_part", mixed_committed, 1, 8, w32::page_execute_read,
                              page_code::rx));
    // ---- decommit, release (F) ------------------------------------------------------------------------
    list.push_back(decommitting("decommit_middle", committed, 3, 3));
    list.push_back(decommitting("decommit_all_by_size_zero", committed, 0, 0));
    list.push_back(decommitting("decommit_mixed", mixed, 0, 16));
    list.push_back(decommitting("decommit_mixed_part", mixed, 2, 6));
    list.push_back(decommitting("decommit_reserved", plain, 0, 16));
    list.push_back(decommitting("decommit_slack", with_slack, 0, 16));
    list.push_back(releasing("release_reserved", plain));
    list.push_back(releasing("release_committed", committed));
    list.push_back(releasing("release_mixed", mixed));
    list.push_back(releasing("release_slack", with_slack));
    list.push_back(releasing("release_placed", placed_prepare));
    list.push_back(releasing("release_large", [](host_world& w) {
        w.a = w.reserved(512 << 20);
        w.commit_filled(w.a + (100 << 20), 4);
    }));
    // ---- warm granules: contents stay behind pages without access, and nobody reads them ----------------
    const auto zeroed = [](host_script s, page_count first, page_count pages) {
        s.done = [=, before = s.done](host_world& w) {
            const std::string wrong = before(w);
            return wrong.empty() ? w.expect_zeroes(w.a + bytes_of(first), pages) : wrong;
        };
        return s;
    };
    list.push_back(
        zeroed(committing("commit_warm", warm, 0, 16, w32::page_readwrite, page_code::rw), 0, 16));
    list.push_back(zeroed(
        committing("commit_warm_part", warm, 3, 3, w32::page_readwrite, page_code::rw), 3, 3));
    list.push_back(
        zeroed(committing("commit_warm_r", warm, 0, 16, w32::page_readonly, page_code::r), 0, 16));
    list.push_back(committing("commit_warm_guard", warm, 0, 16,
                              w32::page_readwrite | w32::page_guard, page_code::guard_rw));
    list.push_back(zeroed(committing(
                              "commit_warm_large", [](host_world& w) { warm_of(w, 4 * granule); },
                              0, 64, w32::page_readwrite, page_code::rw),
                          0, 64));
    list.push_back(decommitting(
        "decommit_dense",
        [](host_world& w) {
            w.a = w.reserved(granule);
            w.commit_filled(w.a, 16);
        },
        0, 16));
    list.push_back(decommitting("decommit_warm", warm, 0, 16));
    list.push_back(decommitting("decommit_warm_part", warm, 2, 6));
    list.push_back(releasing("release_warm", warm));
    for (const byte_count size : {granule, granule - page_size, 2 * granule}) {
        host_script s = reserving("reserve_warm", size, w32::mem_reserve, w32::page_readwrite,
                                  page_code::reserved);
        s.name = size == granule  ? "reserve_warm"
                 : size < granule ? "reserve_warm_less"
                                  : "reserve_warm_more";
        s.prepare = warm_free;
        s.done = [=](host_world& w) {
            std::string wrong;
            for (page_count i = 0; i < pages_of(size); ++i) {
                wrong = vm::is_reserved(w.at(w.a + bytes_of(i)).code) ? wrong : "not reserved";
            }
            w.commit(w.a, pages_of(size));
            return wrong.empty() ? w.expect_zeroes(w.a, pages_of(size)) : wrong;
        };
        list.push_back(s);
    }
    for (const bool is_writable : {true, false}) {
        host_script s =
            reserving(is_writable ? "reserve_commit_warm" : "reserve_commit_warm_r", granule,
                      reserve_commit, is_writable ? w32::page_readwrite : w32::page_readonly,
                      is_writable ? page_code::rw : page_code::r);
        s.prepare = warm_free;
        list.push_back(s);
    }
    // ---- reset (A16): the contents may be there or zero afterwards, so nothing is compared ----------
    {
        host_script s;
        s.name = "reset";
        s.prepare = committed;
        s.run = [](host_world& w) {
            return w.alloc(w.a, bytes_of(10), w32::mem_reset, w32::page_readwrite);
        };
        s.done = [](host_world& w) {
            const std::string wrong = w.expect_code(w.a, 10, page_code::rw);
            w.fill(w.a, 10);
            return wrong;
        };
        s.revert = release_a;
        list.push_back(s);
    }
    // ---- guards (G2) ------------------------------------------------------------------------------------
    {
        host_script s;
        s.name = "guard_is_met";
        s.prepare = [](host_world& w) {
            w.a = w.reserved(granule);
            w.commit_filled(w.a, 4, w32::page_readwrite | w32::page_guard);
        };
        s.run = [](host_world& w) -> outcome {
            return {w.memory().handle_fault(w.a + page_size + 5), "not handled"};
        };
        s.done = [](host_world& w) {
            const std::string wrong = w.expect_code(w.a + page_size, 1, page_code::rw);
            return wrong.empty() ? w.expect_code(w.a + 2 * page_size, 2, page_code::guard_rw)
                                 : wrong;
        };
        s.revert = release_a;
        list.push_back(s);
    }
    // ---- a life: whatever is refused, what was made before can be taken down ----------------------------
    {
        host_script s;
        s.name = "a_whole_life";
        s.run = [](host_world& w) -> outcome {
            address a = 0;
            outcome o = w.alloc(0, 2 * granule, w32::mem_reserve, w32::page_readwrite, &a);
            if (!o.done) {
                return o;
            }
            const auto step = [&](outcome next) {
                if (o.done && !next.done) {
                    o = next;
                }
            };
            step(w.alloc(a, 8 * page_size, w32::mem_commit, w32::page_readwrite));
            step(w.alloc(a + 12 * page_size, 8 * page_size, w32::mem_commit, w32::page_readwrite));
            step(w.alloc(a, 8 * page_size, w32::mem_commit, w32::page_readonly));
            step(w.free(a + 4 * page_size, 12 * page_size, w32::mem_decommit));
            step(w.alloc(a, 32 * page_size, w32::mem_commit, w32::page_readwrite));
            step(w.protect(a, 32 * page_size, w32::page_noaccess));
            const outcome freed = w.free(a, 0, w32::mem_release);
            return o.done ? freed : o;
        };
        s.revert = [](host_world& w) { w.settle(); };
        list.push_back(s);
    }
    return list;
}

// Every script with markers, without (as on a kernel that has none), and with relaxed faulting,
// and with markers where whole reservations stay warm.
enum class held : unsigned char { guarded, noguard, relaxed, dense };
class memory_sweep : public testing::TestWithParam<std::tuple<std::size_t, held>> {
protected:
    void SetUp() override {
        host_world::guard_pages = std::get<1>(GetParam()) != held::noguard;
        host_world::relaxed = std::get<1>(GetParam()) == held::relaxed;
        host_world::dense = std::get<1>(GetParam()) == held::dense;
    }
    void TearDown() override {
        host_world::guard_pages = true;
        host_world::relaxed = host_world::dense = false;
    }
    static host_script tested() { return memory_scripts()[std::get<0>(GetParam())]; }
};

TEST_P(memory_sweep, single_faults) {
    const host_script s = tested();
    report("single", s.name, sweep_single(s));
}

TEST_P(memory_sweep, pairs_of_faults) {
    const host_script s = tested();
    report("pairs", s.name, sweep_pairs(s));
}

INSTANTIATE_TEST_SUITE_P(
    fault, memory_sweep,
    testing::Combine(testing::Range<std::size_t>(0, memory_scripts().size()),
                     testing::Values(held::guarded, held::noguard, held::relaxed, held::dense)),
    [](const auto& tested) {
        return memory_scripts()[std::get<0>(tested.param)].name +
               std::string(std::get<1>(tested.param) == held::guarded   ? ""
                           : std::get<1>(tested.param) == held::noguard ? "_noguard"
                           : std::get<1>(tested.param) == held::relaxed ? "_relaxed"
                                                                        : "_dense");
    });

} // namespace
} // namespace memreeve::test
