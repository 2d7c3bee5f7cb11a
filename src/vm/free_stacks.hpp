// SPDX-License-Identifier: MIT
// Free records by index, in several stacks: a thread comes back to the one it used, so that two threads
// that take and give all the time meet neither in a head nor in the records.
// Lock-free; the tag in a head's upper half defeats ABA. The records stay readable for ever.
#pragma once

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

class free_stacks {
public:
    static constexpr unsigned count = 8;

    constexpr free_stacks() noexcept = default;

    // 0: all are empty. next(index) reads what push() was given for it.
    template <class Next>
    std::uint32_t pop(Next&& next) noexcept {
        const unsigned mine = of_this_thread();
        for (unsigned i = 0; i < count; ++i) {
            std::atomic<std::uint64_t>& head = heads_[(mine + i) % count].word;
            std::uint64_t seen = head.load(std::memory_order_acquire);
            while (static_cast<std::uint32_t>(seen) != 0) {
                const std::uint64_t below = next(static_cast<std::uint32_t>(seen));
                if (head.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | below,
                                               std::memory_order_acq_rel)) {
                    return static_cast<std::uint32_t>(seen);
                }
            }
        }
        return 0;
    }
    // link(index, the one below) writes where pop() will read.
    template <class Link>
    void push(std::uint32_t index, Link&& link) noexcept {
        std::atomic<std::uint64_t>& head = heads_[of_this_thread()].word;
        std::uint64_t seen = head.load(std::memory_order_relaxed);
        do {
            link(index, static_cast<std::uint32_t>(seen));
        } while (!head.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | index,
                                             std::memory_order_acq_rel));
    }
    // f(index) for every free record until it says false. Quiescent callers only.
    template <class Next, class F>
    void for_each(Next&& next, F&& f) const noexcept {
        for (const line& h : heads_) {
            for (auto index = static_cast<std::uint32_t>(h.word.load(std::memory_order_acquire));
                 index != 0; index = next(index)) {
                if (!f(index)) {
                    return;
                }
            }
        }
    }

private:
    struct alignas(64) line {
        std::atomic<std::uint64_t> word{0}; // tag << 32 | index
    };

    // A guess that is the same every time a thread asks.
    static unsigned of_this_thread() noexcept {
        const auto self = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
        return static_cast<unsigned>(self * 0x9e3779b97f4a7c15ULL >> 61);
    }
    static_assert(count == 8);

    line heads_[count]{};
};

} // namespace memreeve::vm
