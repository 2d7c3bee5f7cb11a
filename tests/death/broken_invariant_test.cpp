// SPDX-License-Identifier: MIT
// A broken invariant stops the process with its sentence and nothing else (architecture section 7;
// FATAL in reliability 2.0): one crime per child, exact text on standard error, exact signal.
#include "base/check.hpp"
#include "prim/prim.hpp"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <pthread.h>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace memreeve {
namespace {

struct death {
    int signal = 0; // 0: it lived
    int status = 0;
    std::string said;
};

// Runs `crime` in a child with standard error in a pipe.
death commit(void (*crime)()) {
    int ends[2] = {};
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        // A sanitizer's handler would say more than the sentence.
        for (const int s : {SIGILL, SIGTRAP, SIGSEGV, SIGABRT}) {
            signal(s, SIG_DFL);
        }
        const rlimit no_core{0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        report_broken_invariant = prim::say;
        crime();
        _exit(0);
    }
    close(ends[1]);
    death d;
    char text[512];
    for (ssize_t n = 0; (n = read(ends[0], text, sizeof text)) > 0;) {
        d.said.append(text, static_cast<std::size_t>(n));
    }
    close(ends[0]);
    waitpid(child, &d.status, 0);
    d.signal = WIFSIGNALED(d.status) ? WTERMSIG(d.status) : 0;
    return d;
}

bool died_of_it(const death& d) { return d.signal == SIGILL || d.signal == SIGTRAP; }

// The test of the test: a child that does nothing wrong lives and says nothing.
TEST(broken_invariant, an_innocent_lives) {
    const death d = commit([] { check(true, "never said"); });
    EXPECT_EQ(d.signal, 0);
    EXPECT_EQ(WEXITSTATUS(d.status), 0);
    EXPECT_EQ(d.said, "");
}

TEST(broken_invariant, dies_with_its_sentence) {
    const death d =
        commit([] { check(1 + 1 == 3, "charged counts this account and everything below it"); });
    EXPECT_TRUE(died_of_it(d)) << d.signal;
    EXPECT_EQ(d.said, "charged counts this account and everything below it\n");
}

TEST(broken_invariant, dies_directly_too) {
    const death d = commit([] { broken_invariant("a sentence"); });
    EXPECT_TRUE(died_of_it(d)) << d.signal;
    EXPECT_EQ(d.said, "a sentence\n");
}

TEST(broken_invariant, dies_in_silence_when_nobody_composed_the_process) {
    const death d = commit([] {
        report_broken_invariant = nullptr;
        check(false, "not said");
    });
    EXPECT_TRUE(died_of_it(d)) << d.signal;
    EXPECT_EQ(d.said, "");
}

TEST(broken_invariant, dies_when_nobody_listens) {
    const death d = commit([] {
        close(2);
        check(false, "not heard");
    });
    EXPECT_TRUE(died_of_it(d)) << d.signal;
}

// The reader of standard error has gone: the sentence is lost, the signal is still the right one or
// SIGPIPE's, but it dies.
TEST(broken_invariant, dies_when_the_reader_has_gone) {
    const death d = commit([] {
        int ends[2] = {};
        if (pipe(ends) != 0) {
            _exit(1);
        }
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        check(false, "lost");
    });
    EXPECT_TRUE(died_of_it(d) || d.signal == SIGPIPE) << d.signal;
}

// The invariant breaks where malloc may not be called: inside a signal handler, with no address space
// left, on a small stack (F20, F45).
TEST(broken_invariant, needs_no_memory) {
    const death d = commit([] {
        const rlimit none{0, 0};
        setrlimit(RLIMIT_AS, &none);
        setrlimit(RLIMIT_DATA, &none);
        check(false, "memory is exhausted");
    });
    EXPECT_TRUE(died_of_it(d)) << d.signal;
    EXPECT_EQ(d.said, "memory is exhausted\n");
}

TEST(broken_invariant, may_break_in_a_signal_handler) {
    const death d = commit([] {
        signal(SIGUSR1, [](int) { check(false, "inside a handler"); });
        raise(SIGUSR1);
    });
    EXPECT_TRUE(died_of_it(d)) << d.signal;
    EXPECT_EQ(d.said, "inside a handler\n");
}

TEST(broken_invariant, may_break_on_a_small_stack) {
    const death d = commit([] {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 16384);
        pthread_t thread;
        const auto run = [](void*) -> void* {
            check(false, "on a small stack");
            return nullptr;
        };
        if (pthread_create(&thread, &attributes, run, nullptr) != 0) {
            _exit(77);
        }
        pthread_join(thread, nullptr);
    });
    if (d.signal == 0 && WEXITSTATUS(d.status) == 77) {
        GTEST_SKIP() << "no thread with 16 KiB of stack here";
    }
    EXPECT_TRUE(died_of_it(d)) << d.signal;
    EXPECT_EQ(d.said, "on a small stack\n");
}

// One line in one write: two threads that die together do not mix their sentences.
TEST(broken_invariant, sentences_do_not_mix) {
    for (int round = 0; round < 20; ++round) {
        const death d = commit([] {
            static const char first[] = "the first sentence is of some length";
            static const char second[] = "another one";
            pthread_t threads[2];
            for (int i = 0; i < 2; ++i) {
                const auto run = [](void* sentence) -> void* {
                    broken_invariant(static_cast<const char*>(sentence));
                };
                pthread_create(&threads[i], nullptr, run,
                               const_cast<char*>(i == 0 ? first : second));
            }
            pthread_join(threads[0], nullptr);
        });
        EXPECT_TRUE(died_of_it(d)) << d.signal;
        const std::string one = "the first sentence is of some length\n";
        const std::string two = "another one\n";
        EXPECT_TRUE(d.said == one || d.said == two || d.said == one + two || d.said == two + one)
            << d.said;
    }
}

TEST(broken_invariant, leaves_errno_to_the_living) {
    const death d = commit([] {
        errno = 77;
        check(true, "holds");
        prim::say("a line");
        if (errno != 77) {
            _exit(1);
        }
    });
    EXPECT_EQ(d.signal, 0);
    EXPECT_EQ(WEXITSTATUS(d.status), 0);
    EXPECT_EQ(d.said, "a line\n");
}

} // namespace
} // namespace memreeve
