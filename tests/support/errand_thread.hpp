// SPDX-License-Identifier: MIT
// A thread that does what it is told, one thing after another, while the caller waits.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace memreeve::test {

class errand_thread {
public:
    errand_thread() : thread_([this] { run(); }) {}
    errand_thread(const errand_thread&) = delete;
    errand_thread& operator=(const errand_thread&) = delete;
    ~errand_thread() {
        {
            const std::lock_guard<std::mutex> hold(mutex_);
            ends_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }
    void do_now(const std::function<void()>& errand) {
        std::unique_lock<std::mutex> hold(mutex_);
        errand_ = &errand;
        changed_.notify_all();
        changed_.wait(hold, [&] { return errand_ == nullptr; });
    }

private:
    void run() {
        std::unique_lock<std::mutex> hold(mutex_);
        for (;;) {
            changed_.wait(hold, [&] { return ends_ || errand_ != nullptr; });
            if (errand_ == nullptr) {
                return;
            }
            (*errand_)();
            errand_ = nullptr;
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    const std::function<void()>* errand_ = nullptr;
    bool ends_ = false;
    std::thread thread_;
};

} // namespace memreeve::test
