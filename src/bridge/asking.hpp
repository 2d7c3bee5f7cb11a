// SPDX-License-Identifier: MIT
// The request that this thread is making: who makes it, what it is for, and whether it was refused.
// Every name that may ask for memory has one on its stack for as long as the request lasts; a signal
// handler's request lies inside the one it interrupted.
//
// When a refused request ends, with nothing held or open any more:
//   - the image's first one leaves its last words in the record (telemetry/last_words.hpp);
//   - a thread that is refused again and again is slowed: of every 16 refusals less than 10 ms apart
//     one pauses, at first 0.1 ms, each time twice as long up to 4 ms, but never longer than those
//     refusals took, so that a program that lives with refusals loses at most half of its speed.
//     Others get time to give back. Nobody pauses in a request of process level, which may come from
//     inside a collection, nor in what may be a signal handler: on an alternate stack, or with any
//     signal blocked but SIGQUIT (which Java's threads block for good).
//
// When the request that rang for a collection (early_collection.hpp) ends, its thread gives way until
// the runtime has been asked, at most 10 ms: who asks needs a processor before the room is used up, and on a busy
// machine gets none for that long.
// Async-signal-safe; errno is left alone.
#pragma once

#include "base/units.hpp"
#include "bridge/state.hpp"
#include "telemetry/last_words.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::bridge {

class asking {
public:
    explicit asking(const void* caller) noexcept : caller_(caller), outer_(current) {
        current = this;
    }
    ~asking() {
        current = outer_;
        if (__builtin_expect(refused_ != 0, 0)) {
            after_refusal();
        }
        if (__builtin_expect(awaited_ != nullptr, 0)) {
            give_way();
        }
    }
    asking(const asking&) = delete;
    asking& operator=(const asking&) = delete;

    // Null: memreeve asks for itself.
    static asking* now() noexcept { return current; }
    // What is asked for, told by whoever chooses the level; the last word counts.
    static void is_for(telemetry::purpose p) noexcept {
        if (current != nullptr) {
            current->what_for_ = p;
            current->is_once_ = false;
        }
    }
    // And that its level is refused_once's.
    static void is_refused_once() noexcept {
        if (current != nullptr) {
            current->is_once_ = true;
        }
    }
    const void* caller() const noexcept { return caller_; }

    // The manager's: a request of this thread was refused.
    static void note_refusal(owner_id who, criticality level, page_count pages) noexcept;
    // This thread's request has woken another, which changes `word` from `value` when it has done its part.
    static void gives_way_to(const std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
        if (current != nullptr) {
            current->awaited_ = &word;
            current->awaited_value_ = value;
        }
    }

private:
    void after_refusal() const noexcept;
    void give_way() const noexcept;
    void leave_words(state& s) const noexcept;

    static thread_local constinit asking* current __attribute__((tls_model("initial-exec")));

    const void* caller_;
    asking* outer_;
    page_count refused_ = 0;
    const std::atomic<std::uint32_t>* awaited_ = nullptr;
    std::uint32_t awaited_value_ = 0;
    owner_id owner_ = owner_id::none;
    criticality level_ = criticality::task;
    telemetry::purpose what_for_ = telemetry::purpose::mapping;
    bool is_once_ = false;
};

} // namespace memreeve::bridge
