// SPDX-License-Identifier: MIT
// Every program under the limit can write over the ledger. Whatever it holds then, the launcher and
// `memreeve limit` stay within its mapping and come to an end.
#include "budget/charge.hpp"
#include "cli/image_watch.hpp"
#include "prim/prim.hpp"

#include "support/numbers.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace memreeve;
using namespace memreeve::cli;
using telemetry::image_record;
using telemetry::image_state;
using telemetry::owner_kind;

constexpr byte_count limit_of_run = byte_count{64} << 20;
constexpr std::uint32_t all_ones = ~std::uint32_t{0};

// A process that waits to be killed.
class sleeper {
public:
    sleeper() {
        const pid_t parent = ::getpid();
        pid = ::fork();
        if (pid == 0) {
            (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
            while (::getppid() == parent) {
                (void)::pause();
            }
            ::_exit(0); // it had ended before
        }
    }
    sleeper(const sleeper&) = delete;
    sleeper& operator=(const sleeper&) = delete;
    ~sleeper() {
        (void)::kill(pid, SIGKILL);
        (void)::waitpid(pid, nullptr, 0);
    }
    pid_t pid = 0;
};

// Nothing can be read or written near it: a number that leads out ends the test.
class fenced_ledger {
public:
    fenced_ledger() {
        fence_ = ::mmap(nullptr, fence_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1, 0);
        memory = static_cast<unsigned char*>(fence_) + before;
        EXPECT_NE(fence_, MAP_FAILED);
        EXPECT_EQ(::mmap(memory, size, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                  memory);
        budget::tree::limits root;
        root.hard = limit_of_run;
        root.reserve = budget::default_reserve(limit_of_run);
        books.format(memory, shape, root);
        books.header().launcher_pid.store(prim::process_id());
    }
    fenced_ledger(const fenced_ledger&) = delete;
    fenced_ledger& operator=(const fenced_ledger&) = delete;
    ~fenced_ledger() { (void)::munmap(fence_, fence_size); }

    image_record& attach(pid_t pid, std::uint64_t later = 0) {
        const auto r = books.begin_image(pid, prim::process_start_time(pid) + later, false);
        EXPECT_TRUE(r.has_value());
        std::strcpy((*r)->path, "/usr/bin/mono-sgen");
        budget::charge held;
        EXPECT_TRUE(
            books.tree().take(books.owner_of(**r, 0), 10, criticality::task, held).has_value());
        held.keep();
        return **r;
    }
    page_count charged(owner_id who) { return books.tree().charged(who); }

    static constexpr manager::ledger_shape shape{64, 8, 4};
    const byte_count size = manager::ledger::size_for(shape);
    unsigned char* memory = nullptr;
    manager::ledger books;

private:
    static constexpr byte_count before = byte_count{1} << 30;
    static constexpr byte_count fence_size = byte_count{1} << 41; // 2^32 accounts are 2^40 bytes
    void* fence_ = nullptr;
};

TEST(damaged_ledger, is_not_attached_when_it_says_that_it_is_larger_than_it_is) {
    fenced_ledger l;
    const auto attaches = [&l] { return manager::ledger().attach(l.memory, l.size).has_value(); };
    ASSERT_TRUE(attaches());
    manager::ledger_header& h = l.books.header();
    for (std::uint32_t* const word :
         {&h.account_capacity, &h.credit_capacity, &h.image_capacity, &h.version}) {
        const std::uint32_t right = *word;
        for (const std::uint32_t wrong : {right * 1024, all_ones, right + 1}) {
            *word = wrong;
            EXPECT_FALSE(attaches()) << wrong;
        }
        *word = right;
    }
    for (std::uint32_t* const word : {&h.account_capacity, &h.image_capacity}) {
        const std::uint32_t right = *word;
        *word = 0;
        EXPECT_FALSE(attaches());
        *word = right;
    }
    EXPECT_TRUE(attaches());
}

TEST(damaged_ledger, more_images_than_there_are_places_are_none) {
    fenced_ledger l;
    const sleeper child;
    image_record& r = l.attach(child.pid);
    image_watch watch(l.books, prim::now_ns());
    l.books.header().images_high.store(all_ones);
    l.books.header().image_capacity = all_ones;
    const std::uint32_t rung = r.asker_bell.load();
    l.books.note_pressure();
    EXPECT_EQ(r.asker_bell.load(), rung + 1);
    EXPECT_EQ(l.books.change_limit(limit_of_run / 2, 0).from, limit_of_run);
    l.books.fold_dead();
    watch.look();
    watch.sample();
    EXPECT_EQ(watch.finish().size(), 1u);
    EXPECT_TRUE(watch.has_seen_damage());
}

TEST(damaged_ledger, a_number_that_is_no_accounts_is_nobodys) {
    fenced_ledger l;
    sleeper child;
    image_record& r = l.attach(child.pid);
    image_watch watch(l.books, prim::now_ns());
    watch.look();
    for (const std::uint32_t wrong : {all_ones, all_ones - 1, fenced_ledger::shape.accounts}) {
        r.process_account.store(wrong);
        for (auto& owner : r.owner_account) {
            owner.store(wrong);
        }
        r.picture_wanted.fetch_add(1);
        watch.look();
        watch.sample();
        telemetry::last_words words;
        manager::write_holders(l.books.tree(), r, words);
        EXPECT_EQ(words.owner_charged[0], 0u);
    }
    // Nor is the root's, which no image has: its end does not take what all the others hold.
    r.process_account.store(0);
    l.books.end_image(r, telemetry::image_end::killed);
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(image_state::ended));
    l.books.free_image(r);
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(image_state::free));
    EXPECT_EQ(l.charged(owner_id::root), 10u);
}

TEST(damaged_ledger, parents_in_a_ring_or_out_of_it_are_an_end) {
    for (const std::uint32_t parent : {1U, 2U, fenced_ledger::shape.accounts, all_ones - 1}) {
        fenced_ledger l;
        const sleeper child;
        image_record& r = l.attach(child.pid);
        ASSERT_EQ(r.process_account.load(), 1u);
        l.books.tree().at(static_cast<owner_id>(1)).parent.store(parent);
        EXPECT_TRUE(l.books.is_damaged());
        l.books.tree().drain(); // the rest of the credit
        l.books.end_image(r, telemetry::image_end::killed);
        l.books.tree().at(static_cast<owner_id>(1)).usage.store(std::uint64_t{5} << 32);
        l.books.free_image(r);
        EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(image_state::free));
    }
}

TEST(damaged_ledger, credit_of_nobody_goes_nowhere) {
    fenced_ledger l;
    auto* const slots = reinterpret_cast<budget::credit_slot*>(
        l.memory + page_size +
        round_up(fenced_ledger::shape.accounts * sizeof(budget::account), page_size));
    for (std::uint32_t i = 0; i < fenced_ledger::shape.credits; ++i) {
        slots[i].word.store((std::uint64_t{0xffff} - i) << 48 | 1000);
    }
    l.books.tree().drain();
    EXPECT_EQ(l.charged(owner_id::root), 0u);
    EXPECT_EQ(slots[3].word.load(), 0u);
    EXPECT_FALSE(l.books.tree().is_draining());
}

TEST(damaged_ledger, a_drain_that_does_not_end_is_waited_for_once) {
    fenced_ledger l;
    const sleeper child;
    auto* const slots = reinterpret_cast<budget::credit_slot*>(
        l.memory + page_size +
        round_up(fenced_ledger::shape.accounts * sizeof(budget::account), page_size));
    slots[0].draining.store(7);
    const auto end_one = [&] {
        image_record& r = l.attach(child.pid);
        const std::uint64_t since = prim::now_ns();
        l.books.end_image(r, telemetry::image_end::killed);
        l.books.free_image(r);
        return prim::now_ns() - since;
    };
    EXPECT_GE(end_one(), 100'000'000u);
    EXPECT_LT(end_one(), 90'000'000u);
    // Whoever comes to an end is waited for again.
    slots[0].draining.store(6);
    EXPECT_LT(end_one(), 90'000'000u);
    slots[0].draining.store(7);
    EXPECT_GE(end_one(), 100'000'000u);
}

TEST(damaged_ledger, a_record_is_freed_within_its_bounds) {
    fenced_ledger l;
    const sleeper child;
    for (unsigned i = 0; i < fenced_ledger::shape.images; ++i) { // the last one is next to the end
        image_record& r = l.attach(child.pid, i);
        r.extents_used.store(all_ones);
        l.books.end_image(r, telemetry::image_end::killed);
        EXPECT_EQ(l.books.index_of(r), i);
    }
    for (unsigned i = 0; i < fenced_ledger::shape.images; ++i) {
        l.books.free_image(l.books.image(i));
        EXPECT_EQ(l.books.image(i).extents_used.load(), 0u);
    }
}

TEST(damaged_ledger, is_recognised) {
    fenced_ledger l;
    const sleeper child;
    image_record& r = l.attach(child.pid);
    EXPECT_FALSE(l.books.is_damaged());
    const auto is_seen = [&](auto& word, auto wrong) {
        const auto right = word.load();
        word.store(wrong);
        const bool seen = l.books.is_damaged();
        word.store(right);
        return seen;
    };
    budget::tree& tree = l.books.tree();
    budget::account& root = tree.at(owner_id::root);
    EXPECT_TRUE(is_seen(l.books.header().images_high, 5u));
    EXPECT_TRUE(is_seen(r.process_account, 0u));
    EXPECT_TRUE(is_seen(r.process_account, r.owner_account[0].load()));
    EXPECT_TRUE(is_seen(r.owner_account[6], fenced_ledger::shape.accounts));
    EXPECT_TRUE(is_seen(r.owner_account[3], 63u));
    EXPECT_TRUE(is_seen(tree.at(l.books.process_of(r)).state, 0u));
    EXPECT_TRUE(is_seen(tree.at(l.books.owner_of(r, 2)).image, 1u));
    EXPECT_TRUE(is_seen(root.parent, 0u));
    EXPECT_TRUE(is_seen(root.state, 3u));
    EXPECT_TRUE(is_seen(root.limit, ~page_count{0}));
    EXPECT_TRUE(is_seen(root.charged, page_count{1} << 40));
    EXPECT_FALSE(l.books.is_damaged());
    // What is on its way in or out is nobody's yet.
    r.process_account.store(all_ones);
    for (const auto state : {image_state::free, image_state::claimed, image_state::ended}) {
        r.state.store(static_cast<std::uint32_t>(state));
        EXPECT_FALSE(l.books.is_damaged());
    }
    r.state.store(static_cast<std::uint32_t>(image_state::live));
    EXPECT_TRUE(l.books.is_damaged());
}

TEST(damaged_ledger, words_that_name_no_level_no_purpose_no_owner) {
    fenced_ledger l;
    const sleeper child;
    image_record& r = l.attach(child.pid);
    r.words.level = r.words.what_for = r.words.owner = all_ones;
    std::memset(r.words.caller, 'x', sizeof r.words.caller);
    r.words.state.store(telemetry::last_words::complete);
    image_watch watch(l.books, prim::now_ns());
    std::vector<std::string> lines;
    watch.tell_words(
        0, [&](const process_report& p, const words_report& w) { lines = lines_of(p, w, 1); });
    watch.look();
    EXPECT_EQ(lines.size(), 5u);
}

// Random words of it, as a wild store may write them or somebody who knows where what is.
class scribbler {
public:
    scribbler(fenced_ledger& l, std::uint64_t seed) : ledger_(l), random_(seed) {}
    void write_over(unsigned words) {
        for (; words != 0; --words) {
            std::uint64_t value = value_of_now();
            const bool is_half = random_.up_to(2) == 0;
            const byte_count at = round_down(place_of_now(), is_half ? 4 : 8);
            std::memcpy(ledger_.memory + at, &value, is_half ? 4 : 8);
        }
    }

private:
    std::uint64_t value_of_now() {
        switch (random_.up_to(5)) {
        case 0: return ~std::uint64_t{0};
        case 1: return random_.up_to(8);
        case 2: return random_.up_to(100);
        case 3: return random_.up_to(8) << 48 | random_.up_to(1000);
        default: break;
        }
        return random_.up_to(~std::uint64_t{0}) >> random_.up_to(64);
    }
    byte_count place_of_now() {
        const auto record = [this] {
            return static_cast<byte_count>(reinterpret_cast<unsigned char*>(&ledger_.books.image(
                                               static_cast<std::uint32_t>(random_.up_to(3)))) -
                                           ledger_.memory);
        };
        switch (random_.up_to(6)) {
        case 0: return random_.up_to(sizeof(manager::ledger_header));
        case 1: return page_size + random_.up_to(30 * sizeof(budget::account));
        case 2: return record() + random_.up_to(offsetof(image_record, path));
        case 3:
            return record() + offsetof(image_record, refusals) +
                   random_.up_to(offsetof(image_record, lanes) - offsetof(image_record, refusals));
        case 4:
            return record() + offsetof(image_record, held_until_ns) +
                   random_.up_to(offsetof(image_record, extents) + 500 -
                                 offsetof(image_record, held_until_ns));
        default: break;
        }
        return random_.up_to(ledger_.size - 8);
    }

    fenced_ledger& ledger_;
    test::random_numbers random_;
};

TEST(damaged_ledger, whatever_it_holds_is_looked_at_to_the_end) {
    constexpr unsigned seeds = 100;
    constexpr unsigned rounds = 6;
    constexpr std::uint64_t most_ns =
        30'000'000'000; // a picture that is asked for is tried 100 times
    const std::uint64_t first = test::seed_of_run();
    const sleeper one;
    const sleeper other;
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
        SCOPED_TRACE(testing::Message() << "MEMREEVE_SEED=" << seed);
        const std::uint64_t since = prim::now_ns();
        fenced_ledger l;
        l.attach(one.pid);
        l.attach(other.pid);
        l.attach(prim::process_id(), 1); // gone, by its start time
        scribbler damage(l, seed);
        image_watch watch(l.books, prim::now_ns());
        watch.tell_words(one.pid, [](const process_report& p, const words_report& w) {
            EXPECT_EQ(lines_of(p, w, 1).size(), 5u);
        });
        if (seed % 2 == 0) {
            watch.look();
        }
        for (unsigned round = 0; round < rounds; ++round) {
            damage.write_over(1U << round * 2);
            watch.look();
            // What the damage has ended is followed by another, where there is place.
            for (const pid_t pid : {one.pid, other.pid}) {
                (void)l.books.begin_image(pid, prim::process_start_time(pid), false);
            }
            damage.write_over(4);
            watch.sample();
            damage.write_over(4);
            (void)l.books.change_limit(limit_of_run >> round, 0);
            l.books.note_pressure();
            (void)l.books.fold_dead();
        }
        run_report report;
        report.command = {"mono"};
        report.limit = limit_of_run;
        report.verbose = true;
        report.processes = watch.finish();
        EXPECT_FALSE(summary_json(report).empty());
        EXPECT_FALSE(closing_lines(report).empty());
        EXPECT_LT(prim::now_ns() - since, most_ns);
    }
}

} // namespace
