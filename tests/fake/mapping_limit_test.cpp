// SPDX-License-Identifier: MIT
// At the kernel's mapping limit (F3, F4, fact 1 of the reliability guide): every operation works or is
// refused cleanly, decommit and release never fail outwardly, and when the pressure ends what was
// owed is settled. On the modelled kernel, whose limit is small and can be moved.
#include "fault/host_world.hpp"
#include "prim/fake/fake.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <set>

namespace memreeve::test {
namespace {

namespace fake = prim::fake;
using vm::page_code;

constexpr std::uint32_t reserve_commit = w32::mem_reserve | w32::mem_commit;

std::vector<kernel_line> model_lines() {
    std::vector<kernel_line> list;
    for (const fake::vma& v : fake::mappings()) {
        list.push_back({v.where, v.allowed, !v.has_file && !v.shared});
    }
    return list;
}

class mapping_limit : public testing::Test {
protected:
    // From now on as on a kernel that has no markers.
    void forgo_guards() {
        host_world::guard_pages = false;
        world = std::make_unique<host_world>();
    }
    void SetUp() override {
        if (!fake::start({})) {
            GTEST_SKIP() << "the universe of the modelled kernel is not free here";
        }
        kernel_view::source = model_lines;
        world = std::make_unique<host_world>();
    }
    void TearDown() override {
        host_world::guard_pages = true;
        fake::stop();
        kernel_view::source = read_proc_maps;
    }
    // The model takes `more` mappings than it has now.
    static void limit_to_now_plus(std::size_t more) {
        fake::settings s;
        s.mapping_limit = fake::mapping_count() + more;
        fake::set_limits(s);
    }
    static void lift() { fake::set_limits({}); }

    // Runs `f`; if it is refused, everything is as before.
    template <class F>
    bool done_or_as_before(const char* what, F f) {
        const picture before = world->capture();
        const outcome o = f();
        EXPECT_EQ(world->invariants(strictness::as_before), "")
            << what << (o.done ? " done" : " refused");
        if (!o.done) {
            EXPECT_EQ(world->difference(before, world->capture(), strictness::as_before), "")
                << what;
        }
        return o.done;
    }

    std::unique_ptr<host_world> world;
};

// Isolated commits until the kernel says no; then the suite of operations in that state.
TEST_F(mapping_limit, every_operation_works_or_is_refused_cleanly) {
    host_world& w = *world;
    const address a = w.reserved(4 << 20);
    const address b = w.reserved(granule_size);
    w.commit_filled(b, 8);
    w.must(w.protect(b + bytes_of(2), bytes_of(2), w32::page_readonly), "protect");
    const address released = w.reserved(granule_size);
    w.commit_filled(released, 16);
    limit_to_now_plus(64);
    page_count isolated = 0;
    for (; isolated < pages_of(4 << 20); isolated += 2) {
        if (!done_or_as_before("isolated commit", [&] {
                return w.alloc(a + bytes_of(isolated), page_size, w32::mem_commit,
                               w32::page_readwrite);
            })) {
            break;
        }
        w.fill(a + bytes_of(isolated), 1);
    }
    EXPECT_GE(isolated, 60u);
    EXPECT_LE(isolated, 68u);
    const std::size_t refused = fake::refused_for_count();
    EXPECT_GE(refused, 1u);

    // Next to what is committed already a commit needs no mapping.
    EXPECT_TRUE(done_or_as_before("commit in a gap", [&] {
        return w.alloc(a + page_size, page_size, w32::mem_commit, w32::page_readwrite);
    }));
    for (int round = 0; round < 2; ++round) {
        done_or_as_before("reserve", [&] {
            return w.alloc(0, granule_size, w32::mem_reserve, w32::page_noaccess);
        });
        done_or_as_before("reserve and commit", [&] {
            return w.alloc(0, granule_size, reserve_commit, w32::page_readwrite);
        });
        done_or_as_before("reserve much", [&] {
            return w.alloc(0, 512 << 20, w32::mem_reserve, w32::page_noaccess);
        });
        address much = 0;
        if (done_or_as_before("reserve and commit much", [&] {
                return w.alloc(0, 512 << 20, reserve_commit, w32::page_readwrite, &much);
            })) {
            ASSERT_TRUE(w.free(much, 0, w32::mem_release).done); // too much for every picture
        }
        done_or_as_before("reserve at an address", [&] {
            return w.alloc(fake::universe.begin + (1 << 30), granule_size, reserve_commit,
                           w32::page_readwrite);
        });
        done_or_as_before("protect the middle", [&] {
            return w.protect(b + bytes_of(5), page_size, w32::page_noaccess);
        });
        done_or_as_before("protect a mix", [&] {
            return w.protect(b + bytes_of(1), bytes_of(3), w32::page_execute_read);
        });
        done_or_as_before("commit over a mix", [&] {
            return w.alloc(a + bytes_of(1), bytes_of(7), w32::mem_commit, w32::page_readonly);
        });
        done_or_as_before("guard", [&] {
            return w.protect(b + bytes_of(6), page_size, w32::page_readwrite | w32::page_guard);
        });
        done_or_as_before(
            "needs", [&] { return w.outcome_of(w.memory().needs_address_space(0, granule_size)); });
    }
    EXPECT_GT(fake::refused_for_count(), refused) << "the limit was met";

    // Never refused: a hole in the middle of what is committed, and a whole reservation.
    EXPECT_TRUE(w.free(released + bytes_of(5), bytes_of(3), w32::mem_decommit).done);
    EXPECT_EQ(w.invariants(strictness::as_before), "") << "decommit";
    EXPECT_TRUE(w.free(released, 0, w32::mem_release).done);
    EXPECT_EQ(w.invariants(strictness::as_before), "") << "release";
    EXPECT_EQ(w.at(released).index, 0u);
    EXPECT_TRUE(w.free(a, 4 << 20, w32::mem_decommit).done);
    EXPECT_EQ(w.invariants(strictness::as_before), "") << "decommit of all";
}

// Fact 1: at the limit even a free may be refused by the kernel. Outwardly it is done: the pages are
// reserved, uncharged, and zero when they come back.
TEST_F(mapping_limit, a_decommit_that_the_kernel_refuses_is_done_outwardly) {
    for (const std::uint32_t protection : {w32::page_readwrite, w32::page_readonly,
                                           w32::page_execute_read, w32::page_execute_readwrite}) {
        host_world& w = *world;
        const address a = w.reserved(granule_size);
        w.commit_filled(a, 16, protection);
        w.host->books().tree().drain();
        const page_count charged = w.host->books().tree().charged(w.owner);
        limit_to_now_plus(0);
        ASSERT_TRUE(w.free(a + bytes_of(4), bytes_of(4), w32::mem_decommit).done);
        EXPECT_EQ(w.invariants(strictness::degraded), "") << "protection " << protection;
        EXPECT_TRUE(vm::is_reserved(w.at(a + bytes_of(4)).code));
        w.host->books().tree().drain();
        EXPECT_EQ(w.host->books().tree().charged(w.owner), charged - 4);
        EXPECT_EQ(w.expect_filled(a, 4), "");
        // What Windows promises of a page that is committed again, whatever the kernel kept.
        for (const std::uint32_t again :
             {w32::page_noaccess, w32::page_readwrite | w32::page_guard}) {
            if (w.alloc(a + bytes_of(5), page_size, w32::mem_commit, again).done) {
                EXPECT_EQ(w.invariants(strictness::degraded), "")
                    << "committed with " << again << " over a refused decommit of " << protection;
                ASSERT_TRUE(w.free(a + bytes_of(5), page_size, w32::mem_decommit).done);
            }
        }
        lift();
        w.commit(a + bytes_of(4), 4);
        EXPECT_EQ(w.expect_zeroes(a + bytes_of(4), 4), "");
        EXPECT_EQ(w.invariants(strictness::as_before), "");
        w.release(a);
        EXPECT_EQ(w.invariants(strictness::as_before), "");
    }
}

// A commit that the kernel refuses half-way and that cannot be put back, for others took what became free
// and the ballast was not enough: what is open then is trusted no more.
TEST_F(mapping_limit,
       what_cannot_be_put_back_is_zero_when_it_is_committed_and_closed_when_it_is_released) {
    forgo_guards();
    host_world& w = *world;
    for (const bool releases : {false, true}) {
        const address a = w.reserved(granule_size);
        fake::refuse_protect(bytes_of(4));
        ASSERT_FALSE(w.alloc(a, bytes_of(8), w32::mem_commit, w32::page_readwrite).done);
        ASSERT_EQ(fake::access_at(a), access::read_write) << "open, and nobody could help it";
        std::memset(reinterpret_cast<void*>(a), 0x55, bytes_of(4));
        fake::allow_protect();
        if (releases) {
            w.release(a);
            EXPECT_EQ(fake::access_at(a), access::none);
        } else {
            w.commit(a, 8);
            EXPECT_EQ(w.expect_zeroes(a, 8), "");
        }
        EXPECT_EQ(w.invariants(strictness::as_before), "");
    }
}

// With markers a reserved page is writable behind them: what is left read-only would fault when its owner
// commits it and writes.
TEST_F(mapping_limit, what_cannot_be_put_back_has_its_access_when_it_is_committed) {
    host_world& w = *world;
    const address a = w.reserved(granule_size);
    fake::refuse_protect(bytes_of(4));
    ASSERT_FALSE(w.alloc(a, bytes_of(8), w32::mem_commit, w32::page_readonly).done);
    fake::allow_protect();
    w.commit(a, 8);
    EXPECT_EQ(fake::access_at(a), access::read_write);
    EXPECT_EQ(w.expect_zeroes(a, 8), "");
    EXPECT_EQ(w.invariants(strictness::as_before), "");
}

// The same beside pages that were closed with their contents, of which only the kernel can tell how they are.
TEST_F(mapping_limit, what_cannot_be_put_back_beside_what_is_kept_has_its_access_too) {
    host_world& w = *world;
    const address a = w.reserved(granule_size);
    w.commit_filled(a, 16);
    ASSERT_TRUE(w.free(a, granule_size, w32::mem_decommit).done);
    ASSERT_EQ(w.at(a).code, page_code::reserved_writable) << "kept";
    w.commit(a, 4, w32::page_execute_read);
    ASSERT_TRUE(w.free(a, bytes_of(4), w32::mem_decommit).done);
    ASSERT_EQ(w.at(a).code, page_code::reserved);
    ASSERT_EQ(w.at(a + bytes_of(4)).code, page_code::reserved_writable);
    fake::refuse_protect(bytes_of(2));
    ASSERT_FALSE(w.alloc(a + bytes_of(2), bytes_of(6), w32::mem_commit, w32::page_readonly).done);
    fake::allow_protect();
    w.commit(a, 4);
    EXPECT_EQ(fake::access_at(a + bytes_of(2)), access::read_write);
    EXPECT_EQ(w.expect_zeroes(a, 4), "");
    EXPECT_EQ(w.invariants(strictness::as_before), "");
}

TEST_F(mapping_limit, what_is_owed_drains_to_nothing_when_the_pressure_ends) {
    forgo_guards(); // with markers nothing of this would split a mapping
    host_world& w = *world;
    const picture start = w.capture();
    // Reservations that fill their granules and stand side by side: closing one in the middle splits.
    std::vector<address> all;
    for (int i = 0; i < 20; ++i) {
        const address a = w.reserved(granule_size);
        w.commit_filled(a, 16);
        all.push_back(a);
    }
    limit_to_now_plus(0);
    for (std::size_t i = 1; i < all.size(); i += 2) {
        ASSERT_TRUE(w.free(all[i], 0, w32::mem_release).done);
        EXPECT_EQ(w.at(all[i]).index, 0u);
        ASSERT_EQ(w.invariants(strictness::as_before), "") << i;
    }
    const std::uint32_t owed = w.memory().space().owed();
    EXPECT_GT(owed, 0u) << "the kernel was meant to refuse something";
    w.host->books().tree().drain();
    EXPECT_EQ(w.host->books().tree().charged(w.owner), page_count{16} * 10)
        << "what is freed is not charged";
    // Addresses that are owed are not handed out again.
    for (int i = 0; i < 5; ++i) {
        address fresh = 0;
        if (w.alloc(0, granule_size, reserve_commit, w32::page_readwrite, &fresh).done) {
            EXPECT_EQ(w.expect_zeroes(fresh, 16), "");
            w.must(w.free(fresh, 0, w32::mem_release), "release");
        }
        ASSERT_EQ(w.invariants(strictness::as_before), "");
    }
    lift();
    // Any later request settles; so does asking for it.
    for (std::size_t i = 0; i < all.size(); i += 2) {
        ASSERT_TRUE(w.free(all[i], 0, w32::mem_release).done);
    }
    EXPECT_EQ(w.memory().space().settle_owed(), 0u);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
    EXPECT_EQ(w.difference(start, w.capture(), strictness::as_before), "");
}

TEST_F(mapping_limit, a_placed_reservation_is_released_at_the_limit) {
    host_world& w = *world;
    const picture start = w.capture();
    address a = 0;
    w.must(w.alloc(0, 512 << 20, w32::mem_reserve, w32::page_noaccess, &a), "reserve");
    w.commit_filled(a + (1 << 20), 16);
    limit_to_now_plus(0);
    ASSERT_TRUE(w.free(a, 0, w32::mem_release).done);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
    lift();
    EXPECT_EQ(w.memory().space().settle_owed(), 0u);
    EXPECT_EQ(w.difference(start, w.capture(), strictness::as_before), "");
    EXPECT_FALSE(fake::is_mapped(a));
}

// RLIMIT_AS refuses address space, not memory: what is reserved can still be committed (F31).
TEST_F(mapping_limit, the_limit_on_address_space_refuses_reservations_only) {
    host_world& w = *world;
    const address a = w.reserved(granule_size);
    fake::settings s;
    s.size_limit = fake::mapped_bytes() + (1 << 20);
    fake::set_limits(s);
    EXPECT_FALSE(done_or_as_before("reserve much", [&] {
        return w.alloc(0, 512 << 20, w32::mem_reserve, w32::page_noaccess);
    }));
    EXPECT_TRUE(done_or_as_before(
        "commit", [&] { return w.alloc(a, granule_size, w32::mem_commit, w32::page_readwrite); }));
    EXPECT_TRUE(done_or_as_before("reserve in the arena", [&] {
        return w.alloc(0, granule_size, reserve_commit, w32::page_readwrite);
    }));
    EXPECT_GT(fake::refused_for_size(), 0u);
    lift();
    EXPECT_TRUE(w.alloc(0, 512 << 20, w32::mem_reserve, w32::page_noaccess).done);
}

// Random operations; after each, the model's access of every page is what the map asks for and the
// books are the sum over the map. The limit moves about meanwhile.
class random_operations : public mapping_limit, public testing::WithParamInterface<unsigned> {};
class random_operations_noguard : public random_operations {};

void random_life(host_world& w, unsigned seed, std::size_t least_refused);

TEST_P(random_operations, map_books_and_kernel_stay_one) { random_life(*world, GetParam(), 5); }
TEST_P(random_operations_noguard, map_books_and_kernel_stay_one) {
    forgo_guards();
    random_life(*world, GetParam(), 20);
}

void random_life(host_world& w, unsigned seed, std::size_t least_refused) {
    std::mt19937_64 random(seed);
    std::vector<address> live;
    std::set<address> ever;
    std::size_t done = 0;
    std::size_t refused = 0;
    const std::uint32_t protections[] = {
        w32::page_noaccess,     w32::page_readonly,          w32::page_readwrite,
        w32::page_execute_read, w32::page_execute_readwrite, w32::page_readwrite | w32::page_guard};
    fake::settings s;
    for (int step = 0; step < 1200; ++step) {
        if (step % 100 == 0) {
            s.mapping_limit = step / 100 % 3 == 2 ? 65530 : fake::mapping_count() + random() % 12;
            s.merges = seed % 2 == 0;
            fake::set_limits(s);
        }
        const std::uint32_t protection = protections[random() % std::size(protections)];
        outcome o;
        bool never_refused = false;
        std::string what;
        if (live.size() < 3 || (live.size() < 12 && random() % 8 == 0)) {
            address a = 0;
            const bool commits = random() % 2 == 0;
            what = "reserve";
            o = w.alloc(0, granule_size, commits ? reserve_commit : w32::mem_reserve, protection,
                        &a);
            if (o.done) {
                live.push_back(a);
                ever.insert(a);
            } else if (live.empty()) {
                s.mapping_limit = 65530;
                fake::set_limits(s);
                continue;
            }
        } else {
            const std::size_t which = random() % live.size();
            const page_count first = random() % 16;
            const page_count pages = 1 + random() % (16 - first);
            const address at = live[which] + bytes_of(first);
            switch (random() % 8) {
            case 0:
                what = "release";
                never_refused = true;
                o = w.free(live[which], 0, w32::mem_release);
                if (o.done) {
                    live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
                }
                break;
            case 1:
            case 2:
                what = "decommit";
                never_refused = true;
                o = w.free(at, bytes_of(pages), w32::mem_decommit);
                break;
            case 3:
            case 4:
                what = "protect";
                o = w.protect(at, bytes_of(pages), protection);
                break;
            default:
                what = "commit";
                o = w.alloc(at, bytes_of(pages), w32::mem_commit, protection);
                break;
            }
        }
        (o.done ? done : refused) += 1;
        ASSERT_TRUE(o.done || !never_refused) << "step " << step << " " << what << ": " << o.why;
        ASSERT_EQ(w.invariants(strictness::degraded), "")
            << "step " << step << " " << what << (o.done ? " done" : " refused: " + o.why);
    }
    EXPECT_GT(done, 500u) << "variety";
    EXPECT_GT(refused, 50u) << "variety";
    EXPECT_GT(fake::refused_for_count(), least_refused) << "variety: the limit was met";
    fake::set_limits({});
    for (const address a : live) {
        ASSERT_TRUE(w.free(a, 0, w32::mem_release).done);
    }
    EXPECT_EQ(w.memory().space().settle_owed(), 0u);
    EXPECT_EQ(w.invariants(strictness::as_before), "");
    w.host->books().tree().drain();
    EXPECT_EQ(w.host->books().tree().charged(w.owner), 0u);
    const page_count open = w.memory().space().open_pages(w.owner);
    EXPECT_EQ(w.host->books().tree().entered(w.owner).writable, open);
    EXPECT_EQ(w.host->books().tree().entered(w.owner).slack, open);
    // Whatever was refused meanwhile: what lies there next is closed, and opens.
    for (const address a : ever) {
        w.must(w.alloc(a, granule_size, w32::mem_reserve, w32::page_noaccess), "reserve again");
    }
    EXPECT_EQ(w.invariants(strictness::as_before), "") << "reserved again";
    for (const address a : ever) {
        w.commit(a, 16);
        EXPECT_EQ(w.expect_zeroes(a, 16), "");
    }
    EXPECT_EQ(w.invariants(strictness::as_before), "") << "committed again";
}

INSTANTIATE_TEST_SUITE_P(seeds, random_operations, testing::Range(1u, 13u));
INSTANTIATE_TEST_SUITE_P(seeds, random_operations_noguard, testing::Range(1u, 13u));

} // namespace
} // namespace memreeve::test
