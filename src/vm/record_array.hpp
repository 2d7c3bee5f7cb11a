// SPDX-License-Identifier: MIT
// A growing array of fixed-size records in address space reserved beforehand: indices never move,
// nothing is ever handed back to the system, so that a reader may follow an index at any time.
// The memory behind it comes in steps through a callback, which makes this file pure. Lock-free.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

class record_array {
public:
    // Makes [begin, begin + size) readable and writable, zero-filled. 0 or an OS code. Called by
    // several threads at once for the same range: must be idempotent.
    using grow_function = int (*)(address begin, byte_count size) noexcept;
    static constexpr std::uint32_t none = 0;

    constexpr record_array() noexcept = default;
    // Index 0 is never handed out. `size` bytes at `base` are reserved and not yet accessible.
    void open(address base, byte_count size, std::uint32_t record_size,
              grow_function grow) noexcept {
        base_ = base;
        record_size_ = record_size;
        capacity_ = size / record_size < max_records ? size / record_size : max_records;
        grow_ = grow;
        next_.store(1, std::memory_order_relaxed);
        ready_bytes_.store(0, std::memory_order_relaxed);
    }

    // `count` neighbouring records, or none when the memory or the address space has run out.
    std::uint32_t take(std::uint32_t count) noexcept {
        std::uint64_t first = next_.load(std::memory_order_relaxed);
        do {
            if (first + count > capacity_ || !make_ready((first + count) * record_size_)) {
                return none;
            }
        } while (!next_.compare_exchange_weak(first, first + count, std::memory_order_acq_rel));
        return static_cast<std::uint32_t>(first);
    }

    void* at(std::uint32_t index) const noexcept {
        return reinterpret_cast<void*>(base_ + std::uint64_t{index} * record_size_);
    }
    byte_count ready_bytes() const noexcept { return ready_bytes_.load(std::memory_order_relaxed); }
    std::uint64_t used() const noexcept { return next_.load(std::memory_order_acquire); }
    address base() const noexcept { return base_; }

private:
    static constexpr std::uint64_t max_records = 0xffffffffULL;
    static constexpr byte_count step = 64 * 1024;

    bool make_ready(byte_count bytes) noexcept {
        byte_count ready = ready_bytes_.load(std::memory_order_acquire);
        while (ready < bytes) {
            const byte_count full = capacity_ * record_size_ & ~(page_size - 1);
            // Doubles up to a megabyte a step: few calls, little unused.
            byte_count want =
                ready < step ? step : (ready < (step << 4) ? ready * 2 : ready + (step << 4));
            want = want < bytes ? round_up(bytes, page_size) : want;
            want = want > full ? full : want;
            if (want < bytes || grow_(base_ + ready, want - ready) != 0) {
                return false;
            }
            if (ready_bytes_.compare_exchange_strong(ready, want, std::memory_order_acq_rel)) {
                return true;
            }
        }
        return true;
    }

    address base_ = 0;
    std::uint64_t capacity_ = 0;
    std::uint32_t record_size_ = 1;
    grow_function grow_ = nullptr;
    std::atomic<std::uint64_t> next_{1};
    std::atomic<byte_count> ready_bytes_{0};
};

} // namespace memreeve::vm
