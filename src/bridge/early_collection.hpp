// SPDX-License-Identifier: MIT
// Asking early: before the limit refuses anything, the program's runtime is asked to collect. One
// thread of memreeve's own in the program, named memreeve-ask, does it: signals blocked, small stack,
// detached, holding no lock. It is there where the runtime was recognised (Python's under `run --ask`
// alone; none under `--no-ask`), and sleeps on a word of its image's record until it is rung there:
//
//   the limit was changed                                       by `memreeve limit`
//   and under `run --ask`:
//   what is charged reaches a watermark (pressure/asking.hpp)   by whoever charges (budget::watcher),
//                                                               who does nothing else
//   the kernel is short of memory                               by the launcher, which watches
//
// Without --ask nobody who charges looks at anything, and the runtime hears nothing until its limit was
// lowered below what is held.
//
// What other processes of the run charge it sees a second later.
//
// A child of fork has no such thread; it gets one as its parent did: CPython's child at once, where the
// program itself had but one thread, others with the first thread they start.
#pragma once

#include "bridge/asked_runtime.hpp"
#include "bridge/state.hpp"
#include "pressure/asking.hpp"
#include "prim/helper_thread.hpp"

#include <atomic>

namespace memreeve::bridge {

class early_collection {
public:
    constexpr early_collection() noexcept = default;

    // At start, on the one thread there is.
    void start(state& s) noexcept;
    // The program has started a thread, on the thread that did. Not from the memory path.
    void note_thread(state& s) noexcept;
    // A thread of the program is about to wait for another's end. Async-signal-safe.
    void note_join() noexcept { isolate_.forget(); }
    // On the one thread of a child of fork: the first half anywhere, the second in libc's handler.
    void settle_after_fork(state& s) noexcept;
    void start_in_child(state& s) noexcept;

private:
    static constexpr page_count asleep = ~page_count{0};
    enum : std::uint32_t { thread_none = 0, thread_starting, thread_there };

    bool is_wanted(state& s) const noexcept;
    void start_thread(state& s) noexcept;
    static void moved(void* context, owner_id who) noexcept;
    static void run_thread(void* self) noexcept;
    void run(state& s) noexcept;
    page_count next_look(state& s, asked_runtime& runtime, page_count at) const noexcept;
    asked_runtime::answer ask(state& s, asked_runtime& runtime) noexcept;
    page_count settled(page_count before, std::uint64_t until) const noexcept;
    page_count used() const noexcept;
    page_count top() const noexcept;

    std::atomic<std::uint32_t> is_there_{thread_none};
    std::atomic<page_count> wake_at_{asleep};
    std::atomic<std::uint32_t> underway_{0}; // changes when who rang need not give way any longer
    std::atomic<bool> has_threads_{false};   // of the program's own
    std::atomic<bool> parent_had_it_{false};
    budget::account* root_ = nullptr;
    std::atomic<std::uint32_t>* bell_ = nullptr; // in this image's record
    prim::helper helper_{};
    main_isolate isolate_{};
    pressure::asking policy_{};
};

extern constinit early_collection the_early_collection;

} // namespace memreeve::bridge
