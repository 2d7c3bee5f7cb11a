// SPDX-License-Identifier: MIT
// Decisions 2, 4, 19, 20: the launcher pictures what lives, gives back what the dead were charged,
// and reads a ledger that a killed process left.
#include "cli/image_watch.hpp"

#include "budget/charge.hpp"
#include "prim/prim.hpp"

#include <chrono>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace memreeve;
using namespace memreeve::cli;
using telemetry::image_end;
using telemetry::image_record;

// A process that waits to be killed and has touched some memory.
class sleeper {
public:
    sleeper() {
        pid = ::fork();
        if (pid == 0) {
            (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;) {
                (void)::pause();
            }
        }
    }
    ~sleeper() { kill(); }
    void kill() {
        if (pid > 0) {
            (void)::kill(pid, SIGKILL);
            (void)::waitpid(pid, nullptr, 0);
            pid = 0;
        }
    }
    pid_t pid = 0;
};

class watching : public testing::Test {
protected:
    watching() {
        const byte_count size = manager::ledger::size_for(shape);
        memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        budget::tree::limits root;
        root.hard = byte_count{64} << 20;
        books.format(memory, shape, root);
        watch = std::make_unique<image_watch>(books, prim::now_ns());
    }
    ~watching() override {
        watch.reset();
        (void)::munmap(memory, manager::ledger::size_for(shape));
    }
    image_record& attach(pid_t pid) {
        const auto r = books.begin_image(pid, prim::process_start_time(pid), false);
        EXPECT_TRUE(r.has_value());
        std::strcpy((*r)->path, "/usr/bin/mono-sgen");
        (*r)->runtime.store(static_cast<std::uint32_t>(telemetry::runtime_kind::mono));
        return **r;
    }
    owner_id owner(const image_record& r, telemetry::owner_kind k) const {
        return static_cast<owner_id>(r.owner_account[static_cast<std::uint32_t>(k)].load());
    }

    static constexpr manager::ledger_shape shape{64, 8, 4};
    void* memory = nullptr;
    manager::ledger books;
    std::unique_ptr<image_watch> watch;
};

TEST_F(watching, a_live_image_is_pictured_and_its_touched_memory_counts) {
    const sleeper child;
    image_record& r = attach(child.pid);
    watch->look();
    telemetry::picture p;
    ASSERT_TRUE(telemetry::read(r.last, p)) << "pictured at first sight";
    EXPECT_TRUE(telemetry::adds_up(p));
    EXPECT_GT(p.kernel.rss, 0u);
    EXPECT_GT(books.tree().at(owner_id::root).touched.load(), 0u);
    EXPECT_EQ(books.tree().at(owner_id::root).touched.load(),
              books.tree().at(static_cast<owner_id>(r.process_account.load())).touched.load());
}

TEST_F(watching, a_picture_asked_for_is_served) {
    const sleeper child;
    image_record& r = attach(child.pid);
    watch->look();
    telemetry::picture first;
    ASSERT_TRUE(telemetry::read(r.last, first));
    r.picture_wanted.fetch_add(1);
    watch->look();
    EXPECT_EQ(r.picture_served.load(), r.picture_wanted.load());
    telemetry::picture second;
    ASSERT_TRUE(telemetry::read(r.last, second));
    EXPECT_GT(second.taken_at_ns, first.taken_at_ns);
}

TEST_F(watching, a_killed_image_gives_back_its_charge_and_keeps_its_figures) {
    sleeper child;
    image_record& r = attach(child.pid);
    budget::charge held;
    ASSERT_TRUE(books.tree()
                    .take(owner(r, telemetry::owner_kind::gc), 1000, criticality::task, held)
                    .has_value());
    held.keep();
    r.activities[3].requests[0].store(5);
    std::strcpy(r.settings, "MONO_GC_PARAMS=x");
    watch->look();
    child.kill();
    watch->look();
    EXPECT_EQ(books.tree().charged(owner_id::root), 0u);
    EXPECT_EQ(books.tree().at(owner_id::root).touched.load(), 0u);
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(telemetry::image_state::free))
        << "the slot may be reused";
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].end, image_end::killed);
    EXPECT_EQ(reports[0].requests[0], 5u);
    EXPECT_EQ(reports[0].peak_charged, bytes_of(1000));
    EXPECT_TRUE(reports[0].as_of.has_value());
    ASSERT_TRUE(reports[0].picture.has_value());
    EXPECT_EQ(reports[0].picture->owners[0].charged, bytes_of(1000));
    EXPECT_EQ(reports[0].settings,
              (std::vector<std::pair<std::string, std::string>>{{"MONO_GC_PARAMS", "x"}}));
}

TEST_F(watching, an_image_whose_pid_is_another_process_now_has_ended) {
    const sleeper child;
    const auto r = books.begin_image(child.pid, prim::process_start_time(child.pid) + 1, false);
    ASSERT_TRUE(r.has_value());
    watch->look();
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].end, image_end::killed);
}

// Decision 4: an image pictures itself just before it ends; that is how its end is known, too.
TEST_F(watching, an_image_that_ends_by_itself_keeps_its_own_last_picture) {
    sleeper child;
    image_record& r = attach(child.pid);
    watch->look();
    telemetry::picture own;
    own.taken_at_ns = prim::now_ns();
    own.kernel.rss = 777;
    ASSERT_TRUE(telemetry::publish(r.last, own, true));
    watch->sample();
    child.kill();
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].end, image_end::exited);
    EXPECT_EQ(reports[0].picture->kernel.rss, 777u);
    EXPECT_FALSE(reports[0].as_of.has_value());
}

// Decision 19: an exec into a program that cannot be governed is announced before it happens.
TEST_F(watching, an_announced_exec_that_happens_ends_the_image) {
    const sleeper child;
    image_record& r = attach(child.pid); // says it is mono, runs this test: as after an exec
    watch->look();
    books.note_ungoverned(child.pid, prim::process_start_time(child.pid), "/bin/static",
                          "statically linked");
    watch->look();
    watch->look();
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(telemetry::image_state::free));
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 2u);
    EXPECT_EQ(reports[0].end, image_end::exec);
    EXPECT_FALSE(reports[1].governed);
}

TEST_F(watching, an_announced_exec_that_failed_is_dropped) {
    const sleeper child;
    image_record& r = attach(child.pid);
    const auto n = ::readlink("/proc/self/exe", r.path, sizeof r.path - 1);
    r.path[n] = '\0';
    books.note_ungoverned(child.pid, prim::process_start_time(child.pid), "/bin/static",
                          "statically linked");
    watch->look();
    for (int i = 0; i < 4; ++i) {
        watch->sample();
    }
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_TRUE(reports[0].governed);
}

// Decision 19: exec ends an image; the summary has one entry per image.
TEST_F(watching, exec_makes_two_entries) {
    const sleeper child;
    attach(child.pid);
    watch->look();
    attach(child.pid);
    watch->look();
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 2u);
    EXPECT_EQ(reports[0].end, image_end::exec);
    EXPECT_EQ(reports[1].end, image_end::running);
}

TEST_F(watching, more_images_than_slots_pass_through_one_after_another) {
    for (int i = 0; i < 12; ++i) {
        sleeper child;
        attach(child.pid);
        watch->look();
        child.kill();
        watch->look();
    }
    EXPECT_EQ(watch->finish().size(), 12u);
}

TEST_F(watching, an_ungoverned_child_is_listed_with_its_reason) {
    const sleeper child;
    books.note_ungoverned(child.pid, prim::process_start_time(child.pid), "/bin/static",
                          "statically linked");
    watch->look();
    watch->sample();
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_FALSE(reports[0].governed);
    EXPECT_EQ(reports[0].reason, "statically linked");
    EXPECT_EQ(reports[0].image, "/bin/static");
}

// A daemon's first half: its child has yet to read the record when it is gone.
TEST_F(watching, a_record_is_kept_for_heirs_its_charge_is_not) {
    sleeper child;
    image_record& r = attach(child.pid);
    budget::charge held;
    ASSERT_TRUE(books.tree()
                    .take(owner(r, telemetry::owner_kind::gc), 1000, criticality::task, held)
                    .has_value());
    held.keep();
    r.last_fork_ns.store(prim::now_ns());
    r.heirs.store(1);
    watch->look();
    child.kill();
    watch->look();
    EXPECT_EQ(books.tree().charged(owner_id::root), 0u);
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(telemetry::image_state::ended));
    EXPECT_TRUE(watch->descriptors().empty()) << "would wake the launcher again and again";
    r.heirs.store(0);
    watch->look();
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(telemetry::image_state::free));
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].end, image_end::killed);
    EXPECT_EQ(reports[0].picture->owners[0].charged, bytes_of(1000));
}

TEST_F(watching, an_image_turned_away_after_it_was_seen_is_listed_once_and_its_place_is_clean) {
    const sleeper child;
    image_record& r = attach(child.pid);
    watch->look();
    books.turn_away(r, "no room");
    watch->look();
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(telemetry::image_state::free));
    EXPECT_TRUE(watch->descriptors().empty());
    const sleeper next;
    EXPECT_EQ(&attach(next.pid), &r);
    watch->look();
    EXPECT_EQ(watch->descriptors().size(), 1u);
    const auto reports = watch->finish();
    ASSERT_EQ(reports.size(), 2u);
    EXPECT_TRUE(reports[0].governed);
    EXPECT_EQ(reports[0].pid, next.pid);
    EXPECT_FALSE(reports[1].governed);
    EXPECT_EQ(reports[1].reason, "no room");
}

// Killed between claiming its record and marking it ended: somebody has to finish.
TEST_F(watching, a_record_left_half_ended_is_finished) {
    sleeper child;
    image_record& r = attach(child.pid);
    watch->look();
    r.state.store(static_cast<std::uint32_t>(telemetry::image_state::claimed));
    watch->look();
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(telemetry::image_state::claimed))
        << "it is alive: its own business";
    child.kill();
    EXPECT_EQ(watch->finish().size(), 1u);
    EXPECT_EQ(r.state.load(), static_cast<std::uint32_t>(telemetry::image_state::free));
}

// Decision 2: what grows by touch is looked at again before the next picture is due when there may be
// much of it, also when charged memory made room for it, so that as much is resident as before.
TEST_F(watching, much_touched_memory_is_seen_although_the_limit_is_far) {
    constexpr byte_count size = byte_count{12} << 20; // of 64 MiB
    constexpr auto map = [](int extra) {
        return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | extra,
                      -1, 0);
    };
    int to_child[2];
    int to_us[2];
    ASSERT_EQ(::pipe(to_child) + ::pipe(to_us), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
        (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
        char word = 0;
        void* const charged = map(0);
        std::memset(charged, 1, size);
        (void)::write(to_us[1], &word, 1);
        (void)::read(to_child[0], &word, 1);
        (void)::munmap(charged, size);
        std::memset(map(MAP_NORESERVE), 1, size);
        (void)::write(to_us[1], &word, 1);
        for (;;) {
            (void)::pause();
        }
    }
    char word = 0;
    ASSERT_EQ(::read(to_us[0], &word, 1), 1);
    image_record& r = attach(pid);
    budget::account& process = books.tree().at(static_cast<owner_id>(r.process_account.load()));
    process.charged.store(pages_of(size));
    watch->look();
    watch->sample();
    telemetry::picture before;
    ASSERT_TRUE(telemetry::read(r.last, before));
    process.charged.store(0);
    ASSERT_EQ(::write(to_child[1], &word, 1), 1);
    ASSERT_EQ(::read(to_us[0], &word, 1), 1);
    watch->sample(); // a few milliseconds after the last
    telemetry::picture after;
    ASSERT_TRUE(telemetry::read(r.last, after));
    EXPECT_GT(after.taken_at_ns, before.taken_at_ns);
    (void)::kill(pid, SIGKILL);
    (void)::waitpid(pid, nullptr, 0);
    for (const int fd : {to_child[0], to_child[1], to_us[0], to_us[1]}) {
        (void)::close(fd);
    }
}

// Decision 2: the overshoot is of one moment. What was touched at the last picture may have gone when
// as much is charged later.
TEST_F(watching, what_was_touched_earlier_is_not_put_beside_what_is_charged_now) {
    const sleeper child;
    image_record& r = attach(child.pid);
    budget::account& root = books.tree().at(owner_id::root);
    const page_count all = root.limit.load();
    const auto charge = [&](page_count pages) {
        root.charged.store(pages);
        books.tree().at(static_cast<owner_id>(r.process_account.load())).charged.store(pages);
        books.tree().at(owner(r, telemetry::owner_kind::gc)).charged.store(pages);
    };
    charge(all / 2);
    watch->look(); // pictured at first sight
    ASSERT_GT(root.touched.load(), 0u);
    ASSERT_LT(root.touched.load(), all / 2);
    charge(all);
    watch->look();
    EXPECT_EQ(root.overshoot.load(), 0u);
    r.picture_wanted.fetch_add(1);
    watch->look();
    EXPECT_GT(root.overshoot.load(), 0u);
    EXPECT_EQ(root.overshoot.load(), root.touched.load());
}

} // namespace
