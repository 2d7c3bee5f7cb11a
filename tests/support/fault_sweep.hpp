// SPDX-License-Identifier: MIT
// Fails every system call of a script in turn and asks whether the failure was harmless
// (reliability: F1, F2; the protocol is /proc/self/fail-nth's). For n = 1, 2, ... until the n-th call
// no longer happens, in a child process of its own:
//
//   prepare      without faults
//   capture      the state before
//   run          with the fault armed
//   judge        done: the script's own look at the result, and the invariants
//                refused: the state is as before, to the page and the byte
//   run again    without faults: the refusal must not stand in the way
//   revert       without faults: everything as before prepare
//   and the whole twice again: mappings, descriptors and threads must not grow
//
// A crash, a hang (20 s) or a wrong state is a test failure that names script, n, errno, mode and the
// call that failed. Link with memreeve_prim_faulty.
#pragma once

#include "prim/faulty/faulty.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace memreeve::test {

struct outcome {
    bool done = false;
    std::string why; // of a refusal; for messages
};

// as_before  one fault: the state is as before
// degraded   more than one: what is reserved may stay open, and what could not be closed may be owed;
//            committed pages, contents, states and charges are as before (reliability 2.0)
// torn       the same for a change of several calls whose undo was refused as well: the access and
//            contents of the pages named may differ from what is said, states and charges may not
enum class strictness { as_before, degraded, torn };

// `World` is default-constructible (opens what the script needs, asserts by throwing std::string) and
// has
//   auto capture();                                       // the state, comparable with:
//   std::string difference(before, after, strictness);    // empty: as before
//   std::string invariants(strictness);                   // empty: all hold
template <class World>
struct script {
    std::string name;
    std::function<void(World&)> prepare = [](World&) {};
    std::function<outcome(World&)> run;
    std::function<std::string(World&)> done = [](World&) { return std::string(); };
    std::function<void(World&)> revert = [](World&) {};
    bool never_refused = false; // free, release: must not fail outwardly for one fault
    bool has_several_steps = false;
    bool may_lose_address_space = false; // takes down what only munmap can take down
};

namespace detail {

struct verdict {
    int hits = 0;
    bool refused = false;
    long call = -1; // SYS_* of the first that failed
    char text[2000] = {};
};

inline std::string call_name(long number) {
    switch (number) {
    case SYS_mmap: return "mmap";
    case SYS_munmap: return "munmap";
    case SYS_mprotect: return "mprotect";
    case SYS_madvise: return "madvise";
    case SYS_mremap: return "mremap";
    case SYS_openat: return "openat";
    case SYS_read: return "read";
    case SYS_pread64: return "pread";
    case SYS_write: return "write";
    case SYS_close: return "close";
    case SYS_ioctl: return "ioctl";
    case SYS_futex: return "futex";
    case SYS_rt_sigprocmask: return "rt_sigprocmask";
    case SYS_memfd_create: return "memfd_create";
    case SYS_ftruncate: return "ftruncate";
    default: return "call " + std::to_string(number);
    }
}

inline std::size_t entries_of(const char* folder) {
    std::size_t count = 0;
    if (DIR* d = opendir(folder)) {
        while (readdir(d) != nullptr) {
            ++count;
        }
        closedir(d);
    }
    return count;
}

struct holdings {
    std::size_t descriptors = entries_of("/proc/self/fd");
    std::size_t threads = entries_of("/proc/self/task");
};

// Bytes of address space, without the heap of the test's own C++ library.
inline unsigned long mapped_kib() {
    std::ifstream in("/proc/self/maps");
    std::string line;
    unsigned long sum = 0;
    while (std::getline(in, line)) {
        unsigned long begin = 0;
        unsigned long end = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) == 2 &&
            line.find("[heap]") == line.npos) {
            sum += (end - begin) / 1024;
        }
    }
    return sum;
}

template <class World>
std::string cycle(World& world, const script<World>& s, prim::faulty::fault first,
                  prim::faulty::fault second, verdict* out) {
    const auto start = world.capture();
    s.prepare(world);
    const auto before = world.capture();
    prim::faulty::arm(first, second);
    const outcome r = s.run(world);
    prim::faulty::disarm();
    const int hits = prim::faulty::hits();
    const bool one_fault = hits <= 1 && first.how == prim::faulty::mode::once;
    const strictness how = one_fault             ? strictness::as_before
                           : s.has_several_steps ? strictness::torn
                                                 : strictness::degraded;
    if (out != nullptr) {
        out->hits = hits;
        out->refused = !r.done;
        out->call = prim::faulty::failed_call();
    }
    if (hits == 0 && !r.done) {
        return "refused although no call failed: " + r.why;
    }
    if (!r.done && s.never_refused && how == strictness::as_before) {
        return "refused what is never refused: " + r.why;
    }
    std::string wrong = world.invariants(how);
    if (!wrong.empty()) {
        return (r.done ? "done, but " : "refused (" + r.why + "), but ") + wrong;
    }
    if (r.done) {
        wrong = s.done(world);
        if (!wrong.empty()) {
            return "said done, but " + wrong;
        }
    } else {
        wrong = world.difference(before, world.capture(), how);
        if (!wrong.empty()) {
            return "refused (" + r.why + "), but not as before: " + wrong;
        }
        const outcome again = s.run(world);
        if (!again.done) {
            return "works no more after the refusal (" + r.why + "): " + again.why;
        }
        wrong = s.done(world);
        if (!wrong.empty()) {
            return "run again, said done, but " + wrong;
        }
    }
    s.revert(world);
    wrong = world.invariants(strictness::as_before);
    if (!wrong.empty()) {
        return "after reverting: " + wrong;
    }
    wrong = world.difference(start, world.capture(), strictness::as_before);
    return wrong.empty() ? "" : "after reverting, not as at first: " + wrong;
}

template <class World>
std::string whole_child(const script<World>& s, prim::faulty::fault first,
                        prim::faulty::fault second, verdict& out) {
    World world;
    std::string wrong = cycle(world, s, first, second, &out);
    if (!wrong.empty() || out.hits == 0) {
        return wrong;
    }
    const holdings before;
    const unsigned long mapped = mapped_kib();
    for (int i = 0; i < 2; ++i) {
        wrong = cycle(world, s, first, second, static_cast<verdict*>(nullptr));
        if (!wrong.empty()) {
            return "cycle " + std::to_string(i + 2) + ": " + wrong;
        }
    }
    const holdings after;
    if (after.descriptors != before.descriptors) {
        return "descriptors: " + std::to_string(before.descriptors) + ", then " +
               std::to_string(after.descriptors);
    }
    if (after.threads != before.threads) {
        return "threads: " + std::to_string(before.threads) + ", then " +
               std::to_string(after.threads);
    }
    // A megabyte for the records' own growth and the C library's.
    if (const unsigned long now = mapped_kib(); now > mapped + 1024 && !s.may_lose_address_space) {
        return "mappings: " + std::to_string(mapped) + " KiB, then " + std::to_string(now) + " KiB";
    }
    return "";
}

// In a child. `text` of the verdict says what is wrong; empty: nothing.
template <class World>
verdict try_point(const script<World>& s, prim::faulty::fault first, prim::faulty::fault second,
                  unsigned patience_seconds = 20) {
    int ends[2] = {};
    verdict v;
    if (pipe(ends) != 0) {
        std::snprintf(v.text, sizeof v.text, "no pipe: %s", std::strerror(errno));
        return v;
    }
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        alarm(patience_seconds);
        verdict own;
        std::string wrong;
        try {
            wrong = whole_child(s, first, second, own);
        } catch (const std::string& message) {
            wrong = message;
        }
        std::snprintf(own.text, sizeof own.text, "%s", wrong.c_str());
        const bool sent = write(ends[1], &own, sizeof own) == static_cast<ssize_t>(sizeof own);
        _exit(sent ? 0 : 1);
    }
    close(ends[1]);
    const bool received =
        child > 0 && read(ends[0], &v, sizeof v) == static_cast<ssize_t>(sizeof v);
    close(ends[0]);
    int status = 0;
    if (child > 0) {
        waitpid(child, &status, 0);
    }
    if (!received) {
        v.hits = 1; // go on with the next point
        const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        std::snprintf(v.text, sizeof v.text,
                      signal == SIGALRM ? "hangs" : "dies: signal %d, status %d", signal, status);
    }
    return v;
}

} // namespace detail

struct sweep_result {
    long points = 0;  // children in which the fault was hit
    long refused = 0; // of those, how many scripts reported the failure
    long calls = 0;   // system calls of the script when nothing fails
    std::vector<std::string> wrong;
};

inline constexpr int swept_errors[] = {ENOMEM, EAGAIN, EINVAL, EPERM, EACCES};

template <class World>
sweep_result sweep_single(const script<World>& s, int number_limit = 300) {
    sweep_result result;
    for (const auto how : {prim::faulty::mode::once, prim::faulty::mode::forever}) {
        for (const int error : swept_errors) {
            for (long n = 1; n <= number_limit; ++n) {
                const detail::verdict v = detail::try_point(s, {n, error, how}, {});
                if (v.text[0] != '\0') {
                    result.wrong.push_back(
                        s.name + ": n " + std::to_string(n) + " " + strerrorname_np(error) +
                        (how == prim::faulty::mode::once ? " once" : " forever") + " at " +
                        detail::call_name(v.call) + ": " + v.text);
                }
                if (v.hits == 0) {
                    result.calls = n - 1;
                    break;
                }
                ++result.points;
                result.refused += v.refused ? 1 : 0;
            }
        }
    }
    return result;
}

// All pairs n1 < n2, each failing once. For scripts of few calls.
template <class World>
sweep_result sweep_pairs(const script<World>& s, int error = ENOMEM, int number_limit = 60) {
    using prim::faulty::mode;
    sweep_result result;
    for (long first = 1; first <= number_limit; ++first) {
        bool any = false;
        for (long second = first + 1; second <= number_limit; ++second) {
            const detail::verdict v =
                detail::try_point(s, {first, error, mode::once}, {second, error, mode::once});
            any = any || v.hits > 0;
            if (v.text[0] != '\0') {
                result.wrong.push_back(s.name + ": n " + std::to_string(first) + " and " +
                                       std::to_string(second) + " " + strerrorname_np(error) +
                                       ", first at " + detail::call_name(v.call) + ": " + v.text);
            }
            if (v.hits < 2) {
                break;
            }
            ++result.points;
            result.refused += v.refused ? 1 : 0;
        }
        if (!any) {
            result.calls = first - 1;
            break;
        }
    }
    return result;
}

inline void report(const char* kind, const std::string& name, const sweep_result& r) {
    std::printf("%-7s %-44s %3ld calls %5ld points %5ld refused %3zu wrong\n", kind, name.c_str(),
                r.calls, r.points, r.refused, r.wrong.size());
    std::fflush(stdout);
    for (std::size_t i = 0; i < r.wrong.size() && i < 12; ++i) {
        ADD_FAILURE() << r.wrong[i];
    }
    EXPECT_TRUE(r.wrong.empty()) << r.wrong.size() << " points are wrong";
}

} // namespace memreeve::test
