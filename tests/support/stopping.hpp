// SPDX-License-Identifier: MIT
// Threads that a signal stops anywhere and a controller lets go again, as a runtime does it (decision
// 18). A thread that is to be stopped has `stand` as the handler of stop_signal; the controller sends
// it to each, waits until they stand, acts, and adds one to `resumed`. A watchdog ends a round that
// hangs, and says where the controller stood.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>

namespace memreeve::test::stopping {

constexpr int stop_signal = SIGUSR2;

inline std::atomic<std::uint32_t> standing{0}; // threads in the handler
inline std::atomic<std::uint32_t> resumed{0};  // rounds that have ended
inline std::atomic<std::uint64_t> stopped_inside{0};
inline thread_local volatile bool inside_operation = false;

inline void futex(std::atomic<std::uint32_t>& word, int what, std::uint32_t value) {
    syscall(SYS_futex, &word, what | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}
inline void stand(int) {
    const int kept = errno;
    const std::uint32_t round = resumed.load();
    if (inside_operation) {
        stopped_inside.fetch_add(1);
    }
    standing.fetch_add(1);
    futex(standing, FUTEX_WAKE, 1);
    while (resumed.load() == round) {
        futex(resumed, FUTEX_WAIT, round);
    }
    standing.fetch_sub(1);
    futex(standing, FUTEX_WAKE, 1);
    errno = kept;
}
inline void wait_until_standing(std::uint32_t count) {
    for (std::uint32_t now = standing.load(); now != count; now = standing.load()) {
        futex(standing, FUTEX_WAIT, now);
    }
}

// Short turns on the processor, so that a thread that is not running takes its signal soon, where it
// was preempted: anywhere. Kernels before 6.12 ignore it.
inline void take_short_turns() {
    struct {
        std::uint32_t size = 48, policy = 0;
        std::uint64_t flags = 0;
        std::int32_t nice = 0;
        std::uint32_t priority = 0;
        std::uint64_t runtime = 100000, deadline = 0, period = 0; // ns
    } wanted;
    static_assert(sizeof wanted == 48);
    syscall(SYS_sched_setattr, 0, &wanted, 0);
}

// What happens now, for the message of who hangs.
inline std::atomic<const char*> stage{"start"};
inline std::atomic<std::uint64_t> round_number{0};

class watchdog {
public:
    explicit watchdog(unsigned threads) : threads_(threads), thread_([this] { run(); }) {}
    watchdog(const watchdog&) = delete;
    watchdog& operator=(const watchdog&) = delete;
    ~watchdog() {
        stop_ = true;
        thread_.join();
    }

private:
    void run() {
        std::uint64_t seen = ~std::uint64_t{0};
        unsigned same = 0;
        while (!stop_) {
            std::this_thread::sleep_for(std::chrono::milliseconds(250));
            const std::uint64_t now = round_number.load();
            same = now == seen ? same + 1 : 0;
            seen = now;
            if (same == 120) {
                std::fprintf(
                    stderr,
                    "round %llu hangs for 30 s: the controller stands in '%s', %u of %u threads "
                    "are stopped\n",
                    static_cast<unsigned long long>(now), stage.load(), standing.load(), threads_);
                std::abort();
            }
        }
    }
    unsigned threads_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

inline double seconds_of(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

} // namespace memreeve::test::stopping
