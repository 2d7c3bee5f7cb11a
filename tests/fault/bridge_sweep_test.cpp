// SPDX-License-Identifier: MIT
// The sweep over what the interface has beside the four methods of virtual memory, and over what only
// the bridge asks for: foreign memory (decisions 12, 15, 16), room (11), load (13), partial munmap,
// FIXED and mremap (23, 24).
#include "fault/host_world.hpp"

#include <gtest/gtest.h>

namespace memreeve::test {
namespace {

using vm::page_code;

constexpr byte_count granule = granule_size;

void release_a(host_world& w) { w.release(w.a); }

void committed(host_world& w) {
    w.a = w.reserved(granule);
    w.commit_filled(w.a, 16);
}

// Five foreign pages, each with another access, at w.b.
void foreign(host_world& w) {
    void* p = mmap(nullptr, bytes_of(7), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    w.b = reinterpret_cast<address>(p) + page_size;
    const int prots[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC,
                         PROT_READ | PROT_WRITE};
    for (page_count i = 0; i < 5; ++i) {
        mprotect(reinterpret_cast<void*>(w.b + bytes_of(i)), page_size, prots[i]);
    }
    w.fill(w.b, 1);
    w.watched = {{w.b, w.b + bytes_of(5)}};
}
void end_foreign(host_world& w) {
    munmap(reinterpret_cast<void*>(w.b - page_size), bytes_of(7));
    w.watched.clear();
}

std::string kernel_access_is(range r, access wanted) {
    const kernel_view kernel;
    std::string wrong;
    kernel.for_each(r, [&](range piece, const kernel_line* l) {
        if (l == nullptr || l->allowed != wanted) {
            wrong = text_of("page %lx has access %d", piece.begin,
                            l == nullptr ? -1 : static_cast<int>(l->allowed));
        }
    });
    return wrong;
}

// A query's answer is right or it is refused; but which file mapping is the lowest of an image, and
// so whether it is one, may stay unknown when only that could not be found out.
std::uint64_t answer_word(const manager::region_info& r, bool is_image) {
    const std::uint64_t word = r.size ^ (std::uint64_t{r.state} << 20) ^ r.protect;
    return is_image ? word : word ^ r.allocation_base ^ r.type;
}

host_script asking(const char* name, void (*prepare)(host_world&), address (*where)(host_world&),
                   void (*revert)(host_world&), bool is_image = false) {
    host_script s;
    s.name = name;
    s.prepare = prepare;
    s.run = [=](host_world& w) -> outcome {
        const auto r = w.memory().virtual_query(where(w));
        if (r) {
            w.word = answer_word(*r, is_image);
        }
        return w.outcome_of(r);
    };
    s.done = [=](host_world& w) -> std::string {
        const std::uint64_t answered = w.word;
        const auto again = w.memory().virtual_query(where(w));
        return answered == answer_word(*again, is_image) ? ""
                                                         : "another answer than without the fault";
    };
    s.revert = revert;
    return s;
}

int map_file_over(void* context) {
    auto& w = *static_cast<host_world*>(context);
    const int fd = memfd_create("over", MFD_CLOEXEC);
    if (ftruncate(fd, 4096 * 4) != 0) {
        return errno;
    }
    // As the bridge: the program's own call, through the seam.
    const long r = prim::pass_mmap(w.a + bytes_of(4), bytes_of(4), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_FIXED, fd, 0);
    ::close(fd);
    return r < 0 ? static_cast<int>(-r) : 0;
}

void with_replaced(host_world& w) {
    committed(w);
    w.must(
        w.outcome_of(w.memory().replace({w.a + bytes_of(4), w.a + bytes_of(8)}, map_file_over, &w)),
        "replace");
    w.fill(w.a + bytes_of(4), 4);
}

std::vector<host_script> bridge_scripts() {
    std::vector<host_script> list;
    // ---- query (Q, decision 15) ------------------------------------------------------------------
    list.push_back(asking(
        "query_ours", committed, [](host_world& w) { return w.a + page_size; }, release_a));
    list.push_back(asking(
        "query_foreign", foreign, [](host_world& w) { return w.b + page_size; }, end_foreign));
    list.push_back(asking(
        "query_free",
        [](host_world& w) {
            foreign(w);
            w.a = w.b;
            end_foreign(w);
        },
        [](host_world& w) { return w.a; }, [](host_world&) {}));
    list.push_back(asking(
        "query_image", [](host_world&) {},
        [](host_world&) { return reinterpret_cast<address>(&bridge_scripts); }, [](host_world&) {},
        true));
    list.push_back(asking(
        "query_replaced", with_replaced, [](host_world& w) { return w.a + bytes_of(5); },
        release_a));
    // ---- protect of foreign memory (decision 16) ---------------------------------------------------
    {
        host_script s;
        s.name = "protect_foreign";
        s.prepare = foreign;
        s.run = [](host_world& w) { return w.protect(w.b, bytes_of(5), w32::page_readonly); };
        s.done = [](host_world& w) {
            return kernel_access_is({w.b, w.b + bytes_of(5)}, access::read);
        };
        s.revert = end_foreign;
        list.push_back(s);
    }
    // ---- room and load (decisions 11, 13) ------------------------------------------------------------
    for (const bool at_an_address : {false, true}) {
        host_script s;
        s.name = at_an_address ? "needs_at_an_address" : "needs";
        s.prepare = [](host_world& w) {
            // An empty arena, and a place of that size.
            w.release(w.reserved(granule));
            foreign(w);
            end_foreign(w);
        };
        s.run = [=](host_world& w) {
            return w.outcome_of(
                w.memory().needs_address_space(at_an_address ? w.b : 0, bytes_of(5)));
        };
        list.push_back(s);
    }
    {
        host_script s;
        // No answer when nothing could be read (D17); what was seen, or not, counts for 100 ms.
        s.name = "load";
        s.prepare = [](host_world& w) { w.word = 0; };
        s.run = [](host_world& w) -> outcome {
            if (w.word != 0) {
                usleep(static_cast<useconds_t>(manager::sensors::fresh_ns / 1000 + 10000));
            }
            const auto l = w.memory().load(w.owner);
            w.word = l ? 0 : 1;
            return l ? outcome{l->percent <= 100, "over 100 %"} : w.outcome_of(l);
        };
        list.push_back(s);
    }
    // ---- acquired and released (decision 12) ----------------------------------------------------------
    {
        host_script s;
        s.name = "acquired_then_released";
        s.prepare = foreign;
        s.run = [](host_world& w) {
            return w.outcome_of(w.memory().acquired(w.owner, w.b, bytes_of(5)));
        };
        s.done = [](host_world& w) {
            const page_count mapped = w.host->books().tree().at(w.owner).mapped;
            w.memory().released(w.b);
            return mapped == 5 ? std::string() : text_of("%lu pages are recorded", mapped);
        };
        s.revert = end_foreign;
        list.push_back(s);
    }
    // ---- partial munmap (decision 24) -------------------------------------------------------------------
    {
        host_script s;
        s.name = "retire_middle";
        s.never_refused = true;
        s.prepare = committed;
        s.run = [](host_world& w) {
            return w.outcome_of(w.memory().retire({w.a + bytes_of(4), w.a + bytes_of(8)}));
        };
        s.done = [](host_world& w) -> std::string {
            if (!vm::is_reserved(w.at(w.a + bytes_of(4)).code)) {
                return "not given back";
            }
            w.commit(w.a + bytes_of(4), 4);
            return w.expect_zeroes(w.a + bytes_of(4), 4);
        };
        s.revert = release_a;
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "retire_the_rest";
        s.never_refused = true;
        s.prepare = [](host_world& w) {
            committed(w);
            w.must(w.outcome_of(w.memory().retire({w.a, w.a + bytes_of(8)})), "retire");
        };
        s.run = [](host_world& w) {
            return w.outcome_of(w.memory().retire({w.a + bytes_of(8), w.a + bytes_of(16)}));
        };
        s.revert = [](host_world& w) {
            if (w.at(w.a).index != 0) {
                w.release(w.a); // what could not be closed keeps the whole (stuck pages live on)
            }
            w.settle();
        };
        list.push_back(s);
    }
    // ---- a mapping of the program over pages of ours ------------------------------------------------------
    {
        host_script s;
        s.name = "replace";
        s.prepare = committed;
        s.run = [](host_world& w) {
            return w.outcome_of(
                w.memory().replace({w.a + bytes_of(4), w.a + bytes_of(8)}, map_file_over, &w));
        };
        s.done = [](host_world& w) {
            const std::string wrong = w.expect_code(w.a + bytes_of(4), 4, page_code::replaced);
            return wrong.empty() ? w.expect_filled(w.a, 4) : wrong;
        };
        s.revert = release_a;
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "commit_over_replaced";
        s.prepare = with_replaced;
        s.run = [](host_world& w) {
            return w.alloc(w.a, granule, w32::mem_commit, w32::page_readwrite);
        };
        s.done = [](host_world& w) {
            const std::string wrong = w.expect_code(w.a, 16, page_code::rw);
            return wrong.empty() ? w.expect_zeroes(w.a + bytes_of(4), 4) : wrong;
        };
        s.revert = release_a;
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "decommit_over_replaced";
        s.has_several_steps = true;
        s.never_refused = true;
        s.prepare = with_replaced;
        s.run = [](host_world& w) { return w.free(w.a, granule, w32::mem_decommit); };
        s.revert = release_a;
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "protect_around_replaced";
        s.has_several_steps = true;
        s.prepare = with_replaced;
        s.run = [](host_world& w) { return w.protect(w.a, granule, w32::page_readonly); };
        s.done = [](host_world& w) {
            const std::string wrong = w.expect_code(w.a, 4, page_code::r);
            return wrong.empty() ? w.expect_code(w.a + bytes_of(8), 8, page_code::r) : wrong;
        };
        s.revert = release_a;
        list.push_back(s);
    }
    {
        host_script s;
        s.name = "release_over_replaced";
        s.never_refused = true;
        s.prepare = with_replaced;
        s.run = [](host_world& w) { return w.free(w.a, 0, w32::mem_release); };
        s.done = [](host_world& w) {
            const std::string wrong = w.expect_free(w.a);
            w.settle();
            return wrong;
        };
        list.push_back(s);
    }
    // ---- mremap (decision 24) ---------------------------------------------------------------------------
    for (const page_count grown : {page_count{32}, page_count{4}}) {
        host_script s;
        s.name = grown == 32 ? "move_and_grow" : "move_and_shrink";
        s.prepare = committed;
        s.run = [=](host_world& w) {
            const auto r = w.memory().move(w.owner, {w.a, w.a + granule}, bytes_of(grown),
                                           criticality::process);
            w.word = r ? *r : 0;
            return w.outcome_of(r);
        };
        s.done = [=](host_world& w) {
            const std::string wrong = w.expect_code(w.word, grown, page_code::rw);
            return wrong.empty() ? w.expect_filled(w.word, std::min<page_count>(grown, 16)) : wrong;
        };
        s.revert = [](host_world& w) {
            w.release(w.word);
            if (w.at(w.a).index != 0) {
                w.release(w.a);
            }
        };
        list.push_back(s);
    }
    // ---- what was owed is settled (F4) --------------------------------------------------------------------
    {
        host_script s;
        s.name = "settle_owed";
        s.prepare = [](host_world& w) {
            committed(w);
            prim::faulty::arm({1, ENOMEM, prim::faulty::mode::forever});
            const outcome o = w.free(w.a, 0, w32::mem_release);
            prim::faulty::disarm();
            w.must(o, "release that stays owed");
            if (w.memory().space().owed() == 0) {
                throw std::string("nothing is owed");
            }
        };
        s.run = [](host_world& w) -> outcome {
            return {w.memory().space().settle_owed() == 0, "still owed"};
        };
        s.revert = [](host_world& w) { w.settle(); };
        list.push_back(s);
    }
    return list;
}

class bridge_sweep : public testing::TestWithParam<std::size_t> {};

TEST_P(bridge_sweep, single_faults) {
    const host_script s = bridge_scripts()[GetParam()];
    report("single", s.name, sweep_single(s));
}

TEST_P(bridge_sweep, pairs_of_faults) {
    const host_script s = bridge_scripts()[GetParam()];
    report("pairs", s.name, sweep_pairs(s));
}

INSTANTIATE_TEST_SUITE_P(fault, bridge_sweep,
                         testing::Range<std::size_t>(0, bridge_scripts().size()),
                         [](const auto& tested) { return bridge_scripts()[tested.param].name; });

} // namespace
} // namespace memreeve::test
