// SPDX-License-Identifier: MIT
// Ranges the program gave back while another of its threads was changing the same pages: a race in
// the program, but munmap and decommit are never refused for it (decision 18). They are taken back
// at the next unmapping. Lock-free; 64 at most, then the call fails with ENOMEM after all.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::bridge {

class deferred_frees {
public:
    constexpr deferred_frees() noexcept = default;

    bool add(range where) noexcept {
        for (slot& s : slots_) {
            address empty = 0;
            if (s.begin.load(std::memory_order_relaxed) == 0 &&
                s.begin.compare_exchange_strong(empty, being_written, std::memory_order_acq_rel)) {
                s.end.store(where.end, std::memory_order_relaxed);
                s.begin.store(where.begin, std::memory_order_release);
                count_.fetch_add(1, std::memory_order_relaxed);
                return true;
            }
        }
        return false;
    }

    bool is_empty() const noexcept { return count_.load(std::memory_order_relaxed) == 0; }

    // The program has mapped something there again: nothing of it is owed any more.
    void forget(range where) noexcept {
        for (slot& s : slots_) {
            address begin = s.begin.load(std::memory_order_acquire);
            if (begin > being_written &&
                where.overlaps({begin, s.end.load(std::memory_order_relaxed)}) &&
                s.begin.compare_exchange_strong(begin, 0, std::memory_order_acq_rel)) {
                count_.fetch_sub(1, std::memory_order_relaxed);
            }
        }
    }

    // Hands every range to f; what f refuses is kept.
    template <class F>
    void settle(F&& f) noexcept {
        for (slot& s : slots_) {
            address begin = s.begin.load(std::memory_order_acquire);
            if (begin <= being_written ||
                !s.begin.compare_exchange_strong(begin, being_written, std::memory_order_acq_rel)) {
                continue;
            }
            const bool done = f(range{begin, s.end.load(std::memory_order_relaxed)});
            count_.fetch_sub(done ? 1 : 0, std::memory_order_relaxed);
            s.begin.store(done ? 0 : begin, std::memory_order_release);
        }
    }

private:
    static constexpr address being_written = 1;
    struct slot {
        std::atomic<address> begin{0};
        std::atomic<address> end{0};
    };
    slot slots_[64]{};
    std::atomic<std::uint32_t> count_{0};
};

} // namespace memreeve::bridge
