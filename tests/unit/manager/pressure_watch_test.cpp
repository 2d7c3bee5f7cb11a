// SPDX-License-Identifier: MIT
// Pressure that others make: FIFO and socket for real, the kernel's PSI where it takes a trigger,
// files without triggers from directory trees. Time is given in, so nothing here waits.
#include "manager/pressure_watch.hpp"

#include "support/system_tree.hpp"

#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace memreeve::manager {
namespace {

using test::system_tree;

constexpr std::uint64_t ms = 1'000'000;
constexpr const char* calm = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n";
constexpr const char* v2_mount = "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
constexpr const char* foo = "Zm9v"; // "foo"

std::string stalled(std::uint64_t us) {
    return "some avg10=0.00 avg60=0.00 avg300=0.00 total=" + std::to_string(us) +
           "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
}

std::size_t open_descriptors() {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++n;
    }
    return n;
}

class pressure_watch_test : public ::testing::Test {
protected:
    void SetUp() override { before_ = open_descriptors(); }
    void TearDown() override {
        watch_.close();
        for (int fd : {peer_, listener_}) {
            if (fd >= 0) {
                ::close(fd);
            }
        }
        EXPECT_EQ(open_descriptors(), before_) << "closed, it holds no descriptor";
    }
    void open() {
        groups_.open(tree_.root());
        watch_.open(tree_.root(), groups_, now_);
    }
    std::string make_fifo() {
        const std::string name = tree_ / "/fifo";
        EXPECT_EQ(::mkfifo(name.c_str(), 0600), 0);
        return name;
    }
    std::string listen_on_socket() {
        const std::string name = tree_ / "/socket";
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        EXPECT_LT(name.size(), sizeof at.sun_path);
        std::memcpy(at.sun_path, name.c_str(), name.size());
        listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
        EXPECT_EQ(::listen(listener_, 4), 0);
        return name;
    }
    void write_to(const std::string& path, const std::string& text) {
        const int fd = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        ASSERT_GE(fd, 0);
        EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
        ::close(fd);
    }
    bool look_after(std::uint64_t passed) {
        now_ += passed;
        return watch_.look(now_);
    }
    bool is_pressed() const { return watch_.is_pressed(now_); }

    system_tree tree_;
    control_groups groups_;
    pressure_watch watch_;
    std::uint64_t now_ = 1'000'000 * ms;
    std::size_t before_ = 0;
    int listener_ = -1;
    int peer_ = -1;
};

// ---- named by the service manager -----------------------------------------------------------------

TEST_F(pressure_watch_test, a_fifo_is_told_pressure_and_drained) {
    const std::string fifo = make_fifo();
    watch_.wishes().set(fifo.c_str(), nullptr);
    open();
    EXPECT_TRUE(watch_.has_descriptor());
    EXPECT_EQ(open_descriptors(), before_ + 1);
    EXPECT_FALSE(look_after(25 * ms));
    EXPECT_FALSE(is_pressed());
    write_to(fifo, std::string(5000, 'x'));
    EXPECT_TRUE(look_after(25 * ms));
    EXPECT_TRUE(is_pressed());
    EXPECT_FALSE(look_after(25 * ms)) << "news once";
    EXPECT_FALSE(look_after(200 * ms)) << "what was readable has been read";
    EXPECT_TRUE(is_pressed());
    now_ += pressure_watch::hold_ns;
    EXPECT_FALSE(is_pressed()) << "and it ends by itself";
    write_to(fifo, "x");
    EXPECT_TRUE(look_after(25 * ms)) << "the same FIFO once more";
}

TEST_F(pressure_watch_test, pressure_that_goes_on_is_held) {
    const std::string fifo = make_fifo();
    watch_.wishes().set(fifo.c_str(), nullptr);
    open();
    for (int i = 0; i < 10; ++i) { // the kernel tells once in a window of 2 s
        write_to(fifo, "x");
        EXPECT_EQ(look_after(25 * ms), i == 0);
        now_ += 2000 * ms;
        EXPECT_TRUE(is_pressed()) << i;
    }
}

TEST_F(pressure_watch_test, what_is_written_into_the_fifo_does_not_come_back_as_pressure) {
    const std::string fifo = make_fifo();
    watch_.wishes().set(fifo.c_str(), foo);
    open();
    EXPECT_FALSE(look_after(25 * ms));
    EXPECT_FALSE(is_pressed());
    write_to(fifo, "foo");
    EXPECT_TRUE(look_after(200 * ms)) << "the same from somebody else is pressure";
}

TEST_F(pressure_watch_test, a_notice_behind_what_was_written_is_heard) {
    const std::string fifo = make_fifo();
    watch_.wishes().set(fifo.c_str(), foo);
    open();
    write_to(fifo, "x");
    EXPECT_TRUE(look_after(25 * ms));
}

TEST_F(pressure_watch_test, the_manager_gets_what_is_to_be_written) {
    const std::string fifo = make_fifo();
    const int reader = ::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    watch_.wishes().set(fifo.c_str(), foo);
    open();
    char text[16]{};
    EXPECT_EQ(::read(reader, text, sizeof text), 3);
    EXPECT_STREQ(text, "foo");
    ::close(reader);
    EXPECT_FALSE(look_after(25 * ms));
    write_to(fifo, "bar");
    EXPECT_TRUE(look_after(200 * ms));
}

TEST_F(pressure_watch_test, a_flood_is_looked_at_ten_times_a_second) {
    const std::string fifo = make_fifo();
    watch_.wishes().set(fifo.c_str(), nullptr);
    open();
    write_to(fifo, "x");
    EXPECT_TRUE(look_after(25 * ms));
    write_to(fifo, "y");
    EXPECT_FALSE(look_after(25 * ms));
    const int reader = ::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char c = 0;
    EXPECT_EQ(::read(reader, &c, 1), 1) << "still there: not looked at before 100 ms";
    ::close(reader);
}

TEST_F(pressure_watch_test, a_socket_is_connected_told_and_listened_to) {
    const std::string name = listen_on_socket();
    watch_.wishes().set(name.c_str(), foo);
    open();
    peer_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    ASSERT_GE(peer_, 0);
    char text[16]{};
    EXPECT_EQ(::read(peer_, text, sizeof text), 3);
    EXPECT_STREQ(text, "foo");
    EXPECT_FALSE(look_after(25 * ms));
    ASSERT_EQ(::write(peer_, "p", 1), 1);
    EXPECT_TRUE(look_after(25 * ms));
    EXPECT_TRUE(is_pressed());
}

TEST_F(pressure_watch_test, a_socket_that_was_closed_is_connected_again) {
    const std::string name = listen_on_socket();
    watch_.wishes().set(name.c_str(), nullptr);
    open();
    peer_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    ASSERT_GE(peer_, 0);
    ::close(peer_);
    EXPECT_FALSE(look_after(25 * ms)) << "an end is no pressure";
    EXPECT_FALSE(watch_.has_descriptor());
    look_after(1000 * ms);
    EXPECT_TRUE(watch_.has_descriptor());
    peer_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    ASSERT_GE(peer_, 0);
    ASSERT_EQ(::write(peer_, "p", 1), 1);
    EXPECT_TRUE(look_after(25 * ms));
}

TEST_F(pressure_watch_test, last_words_before_the_end_are_heard) {
    const std::string name = listen_on_socket();
    watch_.wishes().set(name.c_str(), nullptr);
    open();
    peer_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    ASSERT_EQ(::write(peer_, "p", 1), 1);
    ::close(peer_);
    peer_ = -1;
    EXPECT_TRUE(look_after(25 * ms));
}

TEST_F(pressure_watch_test, dev_null_turns_everything_off) {
    tree_.put("/proc/pressure/memory", calm);
    watch_.wishes().set("/dev/null", foo);
    open();
    EXPECT_EQ(open_descriptors(), before_);
    look_after(100 * ms);
    tree_.put("/proc/pressure/memory", stalled(900'000));
    EXPECT_FALSE(look_after(100 * ms));
    EXPECT_FALSE(is_pressed());
    look_after(2000 * ms);
    EXPECT_EQ(open_descriptors(), before_);
}

TEST_F(pressure_watch_test, what_is_named_and_cannot_be_watched_leaves_the_own_files) {
    tree_.put("/proc/pressure/memory", calm);
    tree_.put("/data", "important\n");
    tree_.put_directory("/directory");
    for (const std::string& named :
         {tree_ / "/none", tree_ / "/directory", tree_ / "/data", std::string("/dev/zero")}) {
        tree_.put("/proc/pressure/memory", calm);
        pressure_watch w;
        w.wishes().set(named.c_str(), foo);
        groups_.open(tree_.root());
        w.open(tree_.root(), groups_, now_);
        EXPECT_FALSE(w.has_descriptor()) << named;
        EXPECT_FALSE(w.look(now_ += 100 * ms)) << named;
        tree_.put("/proc/pressure/memory", stalled(151'000));
        EXPECT_TRUE(w.look(now_ += 100 * ms)) << named;
        w.close();
        EXPECT_EQ(open_descriptors(), before_) << named;
    }
    std::ifstream data(tree_ / "/data");
    std::string text;
    std::getline(data, text);
    EXPECT_EQ(text, "important") << "an ordinary file is never written to";
}

TEST_F(pressure_watch_test, what_is_named_and_comes_later_is_found) {
    tree_.put("/proc/pressure/memory", calm);
    watch_.wishes().set((tree_ / "/fifo").c_str(), nullptr);
    open();
    EXPECT_FALSE(watch_.has_descriptor());
    const std::string fifo = make_fifo();
    look_after(1000 * ms);
    EXPECT_TRUE(watch_.has_descriptor());
    tree_.put("/proc/pressure/memory", stalled(900'000));
    EXPECT_FALSE(look_after(100 * ms)) << "from now on that alone";
    write_to(fifo, "x");
    EXPECT_TRUE(look_after(100 * ms));
}

// Programs close descriptors they do not know, and the numbers are used again.
TEST_F(pressure_watch_test, a_descriptor_that_is_another_file_now_is_neither_read_nor_closed) {
    const std::string fifo = make_fifo();
    watch_.wishes().set(fifo.c_str(), nullptr);
    open();
    const int number =
        ::open("/dev/null", O_RDONLY | O_CLOEXEC) - 1; // the one before is the watch's
    ::close(number + 1);
    int theirs[2];
    ASSERT_EQ(::pipe2(theirs, O_CLOEXEC | O_NONBLOCK), 0);
    ASSERT_EQ(::dup3(theirs[0], number, O_CLOEXEC), number);
    ASSERT_EQ(::write(theirs[1], "data", 4), 4);
    EXPECT_FALSE(look_after(25 * ms));
    watch_.close();
    char text[8]{};
    EXPECT_EQ(::read(number, text, sizeof text), 4) << "their data is theirs";
    ::close(number);
    ::close(theirs[0]);
    ::close(theirs[1]);
}

// ---- the own files --------------------------------------------------------------------------------

TEST_F(pressure_watch_test, F28_without_a_trigger_the_total_is_read) {
    tree_.put("/proc/pressure/memory", stalled(5'000'000));
    open();
    EXPECT_FALSE(watch_.has_descriptor());
    EXPECT_FALSE(look_after(100 * ms));
    tree_.put("/proc/pressure/memory", stalled(5'100'000));
    EXPECT_FALSE(look_after(100 * ms));
    tree_.put("/proc/pressure/memory", stalled(5'160'000));
    EXPECT_FALSE(look_after(25 * ms)) << "ten times a second";
    EXPECT_TRUE(look_after(100 * ms));
    EXPECT_TRUE(is_pressed());
}

TEST_F(pressure_watch_test, the_groups_own_stall_counts_and_follows_the_process) {
    tree_.put("/proc/pressure/memory", stalled(0));
    tree_.put("/proc/self/mountinfo", v2_mount);
    tree_.put("/proc/self/cgroup", "0::/a\n");
    tree_.put("/sys/fs/cgroup/a/memory.pressure", stalled(0));
    tree_.put("/sys/fs/cgroup/b/memory.pressure", stalled(7'000'000));
    open();
    look_after(100 * ms);
    tree_.put("/sys/fs/cgroup/a/memory.pressure", stalled(200'000));
    EXPECT_TRUE(look_after(100 * ms));
    tree_.put("/proc/self/cgroup", "0::/b\n"); // moved
    now_ += 5000 * ms;
    look_after(0);
    EXPECT_FALSE(look_after(100 * ms)) << "what the other group has seen before is no news";
    EXPECT_FALSE(is_pressed());
    tree_.put("/sys/fs/cgroup/b/memory.pressure", stalled(7'200'000));
    EXPECT_TRUE(look_after(100 * ms));
}

TEST_F(pressure_watch_test, F28_without_psi_the_limits_that_were_met_count) {
    tree_.put("/proc/self/mountinfo", v2_mount);
    tree_.put("/proc/self/cgroup", "0::/a\n");
    tree_.put("/sys/fs/cgroup/a/memory.events", "low 0\nhigh 3\nmax 4\noom 0\noom_kill 0\n");
    open();
    EXPECT_FALSE(look_after(100 * ms));
    for (int i = 0; i < 30; ++i) { // over reviews too
        EXPECT_FALSE(look_after(100 * ms));
    }
    tree_.put("/sys/fs/cgroup/a/memory.events", "low 0\nhigh 3\nmax 5\noom 0\noom_kill 0\n");
    EXPECT_TRUE(look_after(100 * ms));
}

TEST_F(pressure_watch_test, with_psi_a_limit_that_was_met_is_no_pressure) {
    tree_.put("/proc/pressure/memory", calm);
    tree_.put("/proc/self/mountinfo", v2_mount);
    tree_.put("/proc/self/cgroup", "0::/a\n");
    tree_.put("/sys/fs/cgroup/a/memory.events", "high 3\nmax 4\noom 0\n");
    open();
    look_after(100 * ms);
    tree_.put("/sys/fs/cgroup/a/memory.events",
              "high 30\nmax 400\noom 0\n"); // page cache at its limit
    EXPECT_FALSE(look_after(100 * ms));
}

TEST_F(pressure_watch_test, nothing_there_is_nothing_watched) {
    open();
    for (int i = 0; i < 30; ++i) {
        EXPECT_FALSE(look_after(100 * ms));
    }
    EXPECT_FALSE(is_pressed());
    EXPECT_FALSE(watch_.has_descriptor());
}

// ---- the kernel -----------------------------------------------------------------------------------

bool takes_trigger() {
    prim::watched file;
    const bool taken =
        prim::open_watched("/proc/pressure/memory", &file) == 0 && set_stall_trigger(file) == 0;
    prim::close_watched(file);
    return taken;
}

TEST_F(pressure_watch_test, the_kernels_own_files_are_watched_by_trigger) {
    if (!takes_trigger()) {
        GTEST_SKIP() << "skipped: /proc/pressure/memory takes no trigger here";
    }
    groups_.open("");
    watch_.open("", groups_, now_);
    EXPECT_TRUE(watch_.has_descriptor());
    EXPECT_LE(open_descriptors(), before_ + 2) << "the machine's and the group's";
    for (int i = 0; i < 4; ++i) {
        look_after(1000 * ms);
        EXPECT_TRUE(watch_.has_descriptor()) << "it stays open";
    }
}

TEST_F(pressure_watch_test, a_stall_file_named_by_the_service_manager) {
    if (!takes_trigger()) {
        GTEST_SKIP() << "skipped: /proc/pressure/memory takes no trigger here";
    }
    // "some 200000 2000000" with its NUL; nothing at all; a window that is refused without
    // privilege; no trigger: the last three are given our own.
    for (const char* write : {"c29tZSAyMDAwMDAgMjAwMDAwMAA=", static_cast<const char*>(nullptr),
                              "c29tZSAyMDAwMDAgMTAwMDAwMAA=", "Zm9v"}) {
        pressure_watch w;
        w.wishes().set("/proc/pressure/memory", write);
        groups_.open(tree_.root());
        w.open(tree_.root(), groups_, now_);
        EXPECT_TRUE(w.has_descriptor()) << write;
        EXPECT_EQ(open_descriptors(), before_ + 1) << "that file alone";
        w.look(now_ += 25 * ms);
        EXPECT_TRUE(w.has_descriptor()) << write << ": the kernel reports no error";
        w.close();
    }
}

} // namespace
} // namespace memreeve::manager
