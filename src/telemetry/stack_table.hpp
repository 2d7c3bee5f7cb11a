// SPDX-License-Identifier: MIT
// Where libc put the stacks of an image's threads, as each thread noted at its start.
//
// libc keeps stacks for reuse and unmaps them unseen, so an entry may outlive its stack: it tells
// what an otherwise nameless mapping is, never that there is one, and whatever says more about the
// address goes first (snapshot.hpp). A stack that is used again takes the slot it had, one that lies
// where others were replaces them; with more stacks than slots one drives out another, and what is
// not noted is recognised by its guard.
//
// Lock-free, async-signal-safe. One word per stack, so a reader never sees half an entry.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::telemetry {

class stack_table {
public:
    static constexpr std::uint32_t capacity = 2048;

    // Page aligned, below 2^47 (x86-64 without five levels); others are left out. True: it was not
    // known.
    bool note(range where) noexcept {
        if (where.is_empty() || where.end > top_of_words ||
            where.pages() >= page_count{1} << size_bits) {
            return false;
        }
        const std::uint64_t word = where.end / page_size << size_bits | where.pages();
        const std::uint32_t home = home_of(where.end);
        is_used_.store(1, std::memory_order_relaxed);
        for (auto& w : words_) {
            std::uint64_t seen = w.load(std::memory_order_relaxed);
            if (seen == word) {
                return false;
            }
            if (seen != 0 && range_of(seen).overlaps(where)) {
                w.compare_exchange_strong(seen, 0, std::memory_order_relaxed);
            }
        }
        for (std::uint32_t n = 0; n < probes; ++n) {
            auto& w = words_[(home + n) % capacity];
            std::uint64_t seen = w.load(std::memory_order_relaxed);
            if (seen == 0 && w.compare_exchange_strong(seen, word, std::memory_order_relaxed)) {
                return true;
            }
        }
        words_[home].store(word, std::memory_order_relaxed);
        return true;
    }

    // Does `where` lie in one stack that was noted?
    bool covers(range where) const noexcept {
        bool hit = false;
        for_each([&](range stack) { hit = hit || stack.contains(where); });
        return hit;
    }
    // f(range) for every stack noted.
    template <class F>
    void for_each(F&& f) const noexcept {
        if (is_used_.load(std::memory_order_relaxed) == 0) {
            return;
        }
        for (const auto& w : words_) {
            if (const std::uint64_t word = w.load(std::memory_order_relaxed); word != 0) {
                f(range_of(word));
            }
        }
    }

    // Into a table that nobody else uses yet.
    void copy_from(const stack_table& other) noexcept {
        other.for_each([this](range where) { static_cast<void>(note(where)); });
    }
    void clear() noexcept {
        if (is_used_.load(std::memory_order_relaxed) != 0) {
            for (auto& w : words_) {
                w.store(0, std::memory_order_relaxed);
            }
            is_used_.store(0, std::memory_order_relaxed);
        }
    }

private:
    static constexpr unsigned size_bits = 29; // pages: up to 2 TiB
    static constexpr std::uint32_t probes = 8;
    static constexpr address top_of_words = address{1} << 47;

    static range range_of(std::uint64_t word) noexcept {
        const address end = (word >> size_bits) * page_size;
        return {end - (word & ((std::uint64_t{1} << size_bits) - 1)) * page_size, end};
    }
    static std::uint32_t home_of(address end) noexcept {
        constexpr std::uint64_t golden = 0x9e3779b97f4a7c15ULL; // 2^64 / golden ratio
        return static_cast<std::uint32_t>((end / page_size * golden) >> 53);
    }
    static_assert(capacity == 1u << (64 - 53));

    std::atomic<std::uint32_t> is_used_{0};
    std::atomic<std::uint64_t> words_[capacity]{};
};

} // namespace memreeve::telemetry
