// SPDX-License-Identifier: MIT
// Lanes: counters in as many copies as there are lanes, each on cache lines of its own, so that
// counting costs no locked instruction and no line that another thread writes. The sum over all
// copies is the figure.
//
// A thread claims one lane of a table for ever and is found again by its thread pointer; a later
// thread with the same pointer goes on with it. Who finds none free counts in the shared lane, with
// locked instructions like everybody there.
//
// A thread that was interrupted may be counting in the handler too: alone means one instruction, which
// no signal divides. In a child that shares the memory (vfork) the thread that owns the lane is
// suspended.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MEMREEVE_LANES_LOCKED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || !defined(__x86_64__)
#define MEMREEVE_LANES_LOCKED 1
#endif

namespace memreeve {

inline constexpr std::uint32_t lane_bits = 4;
inline constexpr std::uint32_t lane_count = 1U << lane_bits;
inline constexpr std::uint32_t shared_lane = lane_count;
inline constexpr std::uint32_t lanes_with_shared = lane_count + 1; // copies of each counter

// Whose each lane is: written once, read by everybody. Zeroed memory is an empty table.
struct lane_table {
    std::atomic<std::uint64_t> thread[lane_count]{}; // thread pointers

    // 0 <= lane < lanes_with_shared. Async-signal-safe, lock-free.
    std::uint32_t lane_of_this_thread() noexcept {
        const auto self = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
        const auto first =
            static_cast<std::uint32_t>((self * 0x9e3779b97f4a7c15ULL) >> (64 - lane_bits));
        for (std::uint32_t i = 0; i < tries; ++i) {
            const std::uint32_t lane = (first + i) % lane_count;
            if (__builtin_expect(thread[lane].load(std::memory_order_relaxed) == self, 1)) {
                return lane;
            }
        }
        return claim(self, first);
    }
    // Nobody may be counting.
    void clear() noexcept;

private:
    static constexpr std::uint32_t tries = 4;
    std::uint32_t claim(std::uint64_t self, std::uint32_t first) noexcept;
};

// Adds to this thread's copy of a counter. A release; wraps round.
inline void add_in_lane(std::atomic<std::uint64_t>& word, std::uint32_t lane,
                        std::uint64_t n) noexcept {
#if !defined(MEMREEVE_LANES_LOCKED)
    if (__builtin_expect(lane != shared_lane, 1)) {
        static_assert(sizeof(word) == sizeof(std::uint64_t));
        asm volatile("addq %1, %0"
                     : "+m"(reinterpret_cast<std::uint64_t&>(word))
                     : "er"(n)
                     : "memory", "cc");
        return;
    }
#else
    static_cast<void>(lane);
#endif
    word.fetch_add(n, std::memory_order_acq_rel);
}

} // namespace memreeve
