// SPDX-License-Identifier: MIT
#include "prim/prim.hpp"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <signal.h>
#include <sstream>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace memreeve::prim {
namespace {

class prim_process : public testing::Test {
protected:
    void SetUp() override { errno = 12345; }
    void TearDown() override { EXPECT_EQ(errno, 12345) << "errno was touched"; }
};

// Runs f with standard error in a pipe; returns what was written.
template <class F>
std::string captured(F f) {
    int ends[2] = {};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const int before = dup(2);
    dup2(ends[1], 2);
    f();
    dup2(before, 2);
    ::close(before);
    ::close(ends[1]);
    std::string text(4096, '\0');
    const ssize_t n = ::read(ends[0], text.data(), text.size());
    ::close(ends[0]);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
}

TEST_F(prim_process, ids_are_the_kernels) {
    EXPECT_EQ(process_id(), getpid());
    EXPECT_EQ(thread_id(), gettid());
}

TEST_F(prim_process, start_time_is_field_22_of_stat) {
    std::ifstream in("/proc/self/stat");
    std::string rest;
    std::getline(in, rest);
    std::istringstream fields(rest.substr(rest.rfind(')') + 2));
    std::string word;
    for (int field = 3; field <= 22; ++field) {
        fields >> word;
    }
    errno = 12345;
    const std::uint64_t got = process_start_time(getpid());
    EXPECT_EQ(std::to_string(got), word);
    EXPECT_GT(got, 0u);
}

TEST_F(prim_process, start_time_survives_a_hostile_name) {
    const std::uint64_t before = process_start_time(getpid());
    char old_name[16] = {};
    prctl(PR_GET_NAME, old_name);
    for (const char* name : {") S 1 2 3 (", "a) b) c", "(((", "     ", ""}) {
        prctl(PR_SET_NAME, name);
        EXPECT_EQ(process_start_time(getpid()), before) << name;
    }
    prctl(PR_SET_NAME, old_name);
}

TEST_F(prim_process, start_time_of_nobody_is_zero) {
    EXPECT_EQ(process_start_time(0), 0u);
    EXPECT_EQ(process_start_time(-5), 0u);
    EXPECT_EQ(process_start_time(0x7fffffff), 0u);
}

TEST_F(prim_process, clock_is_monotonic_nanoseconds) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    const std::uint64_t reference =
        static_cast<std::uint64_t>(t.tv_sec) * 1000000000u + static_cast<std::uint64_t>(t.tv_nsec);
    const std::uint64_t first = now_ns();
    EXPECT_GE(first, reference);
    EXPECT_LT(first - reference, 5000000000u);
    EXPECT_GE(now_ns(), first);
}

TEST_F(prim_process, wait_returns_at_once_when_the_word_differs) {
    const std::uint32_t word = 1;
    const std::uint64_t before = now_ns();
    wait_on(&word, 0, 10'000'000'000u);
    EXPECT_LT(now_ns() - before, 5'000'000'000u);
}

TEST_F(prim_process, wait_ends_at_the_timeout) {
    const std::uint32_t word = 0;
    const std::uint64_t before = now_ns();
    while (now_ns() - before < 20'000'000u) {
        wait_on(&word, 0, 20'000'000u);
    }
    EXPECT_LT(now_ns() - before, 5'000'000'000u);
}

TEST_F(prim_process, wake_reaches_another_process) {
    // The ledger's bell: the word lies in shared memory.
    const long fd = create_memfd("bell");
    ASSERT_EQ(resize(static_cast<int>(fd), page_size), 0);
    address a = 0;
    ASSERT_EQ(map_shared(static_cast<int>(fd), page_size, true, &a), 0);
    auto* word = reinterpret_cast<std::atomic<std::uint32_t>*>(a);
    const auto* plain = reinterpret_cast<const std::uint32_t*>(a);
    const pid_t child = fork();
    if (child == 0) {
        while (word->load() == 0) {
            wait_on(plain, 0, 0);
        }
        _exit(7);
    }
    usleep(20000);
    word->store(1);
    wake_all(plain);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 7);
    EXPECT_EQ(unmap(a, page_size), 0);
    EXPECT_EQ(close(static_cast<int>(fd)), 0);
}

TEST_F(prim_process, say_writes_one_line) {
    EXPECT_EQ(captured([] { say("a line"); }), "a line\n");
    EXPECT_EQ(captured([] { say("a line\n"); }), "a line\n");
    EXPECT_EQ(captured([] { say(""); }), "\n");
    errno = 12345;
}

TEST_F(prim_process, say_survives_a_closed_standard_error) {
    const int before = dup(2);
    ::close(2);
    errno = 12345;
    say("nobody listens");
    EXPECT_EQ(errno, 12345);
    dup2(before, 2);
    ::close(before);
    errno = 12345;
}

TEST_F(prim_process, exit_now_ends_with_the_status_and_runs_nothing) {
    const pid_t child = fork();
    if (child == 0) {
        atexit([] { _exit(1); });
        exit_now(42);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(prim_process, files_read_write_resize_close) {
    const long fd = create_memfd("files");
    ASSERT_GE(fd, 0);
    EXPECT_TRUE((fcntl(static_cast<int>(fd), F_GETFD) & FD_CLOEXEC) != 0);
    EXPECT_EQ(write(static_cast<int>(fd), "0123456789", 10), 10);
    char text[16] = {};
    EXPECT_EQ(read_at(static_cast<int>(fd), text, 4, 3), 4);
    EXPECT_STREQ(text, "3456");
    EXPECT_EQ(resize(static_cast<int>(fd), 5), 0);
    EXPECT_EQ(read_at(static_cast<int>(fd), text, 16, 0), 5);
    lseek(static_cast<int>(fd), 1, SEEK_SET);
    EXPECT_EQ(read(static_cast<int>(fd), text, 2), 2);
    EXPECT_EQ(text[0], '1');
    EXPECT_EQ(close(static_cast<int>(fd)), 0);
    EXPECT_EQ(close(static_cast<int>(fd)), EBADF);
    EXPECT_EQ(read(static_cast<int>(fd), text, 1), -EBADF);
    EXPECT_EQ(write(static_cast<int>(fd), text, 1), -EBADF);
    EXPECT_EQ(resize(static_cast<int>(fd), 1), EBADF);
}

TEST_F(prim_process, opened_files_do_not_pass_to_programs) {
    EXPECT_EQ(open_read("/no such file"), -ENOENT);
    EXPECT_EQ(open_read_write("/no such file"), -ENOENT);
    const long r = open_read("/proc/self/maps");
    const long rw = open_read_write("/dev/null");
    for (const long fd : {r, rw}) {
        ASSERT_GE(fd, 0);
        EXPECT_TRUE((fcntl(static_cast<int>(fd), F_GETFD) & FD_CLOEXEC) != 0);
    }
    EXPECT_EQ(write(static_cast<int>(rw), "x", 1), 1);
    EXPECT_EQ(write(static_cast<int>(r), "x", 1), -EBADF);
    EXPECT_EQ(close(static_cast<int>(r)), 0);
    EXPECT_EQ(close(static_cast<int>(rw)), 0);
}

TEST_F(prim_process, a_read_interrupted_by_a_signal_goes_on) {
    struct sigaction quiet {};
    quiet.sa_handler = [](int) {};
    struct sigaction before {};
    sigaction(SIGUSR1, &quiet, &before); // no SA_RESTART
    int ends[2] = {};
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
        usleep(50000);
        kill(parent, SIGUSR1);
        usleep(50000);
        _exit(::write(ends[1], "x", 1) == 1 ? 0 : 1);
    }
    char c = 0;
    EXPECT_EQ(read(ends[0], &c, 1), 1);
    EXPECT_EQ(c, 'x');
    waitpid(child, nullptr, 0);
    sigaction(SIGUSR1, &before, nullptr);
    ::close(ends[0]);
    ::close(ends[1]);
    errno = 12345;
}

struct thread_report {
    std::atomic<bool> ran{false};
    sigset_t blocked{};
    int thread = 0;
};

TEST_F(prim_process, a_started_thread_runs_with_signals_blocked) {
    thread_report report;
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    thread_handle handle;
    ASSERT_EQ(start_thread(
                  [](void* given) {
                      auto* r = static_cast<thread_report*>(given);
                      pthread_sigmask(SIG_SETMASK, nullptr, &r->blocked);
                      r->thread = thread_id();
                      r->ran = true;
                  },
                  &report, &handle),
              0);
    join_thread(handle);
    EXPECT_TRUE(report.ran);
    EXPECT_NE(report.thread, getpid());
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD, SIGPROF, SIGUSR1, SIGRTMAX}) {
        EXPECT_EQ(sigismember(&report.blocked, signal), 1) << signal;
    }
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (int signal = 1; signal < 64; ++signal) {
        EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal))
            << "the caller's own mask";
    }
    errno = 12345;
}

} // namespace
} // namespace memreeve::prim
