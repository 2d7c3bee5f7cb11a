// SPDX-License-Identifier: MIT
// How long the machine has kept this process from running: what a test that bounds an elapsed time
// grants on top. The sum of two parts:
//
//   what the kernel counts for each thread, the time it was ready and did not run (schedstat), of all
//   threads but the one that asks, which only waits;
//   what stops the process or the machine as a whole, a hypervisor for instance: how late a thread woke
//   that sleeps 10 ms at a time, without what the kernel counts for it. All of it where the kernel
//   counts nothing.
//
// A thread that waits for something is in neither, and a thread that the processor is taken from only
// with the time it wanted to run: what is slow by itself is granted nothing, also beside busy programs.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <sys/types.h>
#include <thread>
#include <unistd.h>

namespace memreeve::test {

class withheld_time {
public:
    withheld_time() : thread_([this] { run(); }) {}
    withheld_time(const withheld_time&) = delete;
    withheld_time& operator=(const withheld_time&) = delete;
    ~withheld_time() {
        stop_ = true;
        thread_.join();
    }

    // Since the beginning. Waits until the thread has woken, so that nothing is half counted.
    std::chrono::nanoseconds so_far() {
        std::unique_lock<std::mutex> hold(mutex_);
        const std::uint64_t before = wakes_;
        woken_.wait(hold, [&] { return wakes_ != before; });
        std::chrono::nanoseconds sum = stopped_;
        std::error_code e;
        for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", e)) {
            const std::string number = task.path().filename();
            if (number != std::to_string(::gettid()) && number != std::to_string(sleeper_)) {
                sum += not_run(task.path());
            }
        }
        return sum;
    }

private:
    static constexpr std::chrono::milliseconds period{10};
    static constexpr std::chrono::milliseconds usual{1}; // what a timer may be late by

    static std::chrono::nanoseconds not_run(const std::filesystem::path& task) {
        std::uint64_t ran = 0;
        std::uint64_t waited = 0;
        std::ifstream(task / "schedstat") >> ran >> waited;
        return std::chrono::nanoseconds(waited);
    }
    void run() {
        using clock = std::chrono::steady_clock;
        const std::filesystem::path self = "/proc/thread-self";
        auto begin = clock::now();
        auto not_run_before = not_run(self);
        while (!stop_) {
            std::this_thread::sleep_until(begin + period);
            const auto not_run_by_now = not_run(self);
            const auto now = clock::now();
            const auto late = now - begin - period - (not_run_by_now - not_run_before);
            begin = now;
            not_run_before = not_run_by_now;
            const std::lock_guard<std::mutex> hold(mutex_);
            sleeper_ = ::gettid();
            stopped_ += late > usual ? late : std::chrono::nanoseconds(0);
            ++wakes_;
            woken_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable woken_;
    std::uint64_t wakes_ = 0;
    std::chrono::nanoseconds stopped_{0};
    pid_t sleeper_ = 0;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

} // namespace memreeve::test
