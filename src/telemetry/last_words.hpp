// SPDX-License-Identifier: MIT
// What an image leaves of its first refusal, in memory that was set aside beforehand in its record: it
// is there for the launcher when the process is killed the moment after. And what the launcher notes
// meanwhile, so that it can be told who grew last.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::telemetry {

// What a request is for, as far as the call and its caller tell.
enum class purpose : std::uint32_t { gc_heap = 0, code, metadata, stack, malloc, file, mapping };
inline constexpr std::uint32_t purpose_count = 7;
inline constexpr const char* purpose_names[purpose_count] = {
    "GC heap", "code", "metadata", "thread", "malloc", "memory file", "mapping"};

inline constexpr std::uint32_t words_owner_count = 7; // = owner_kind_count

// Bytes where nothing else is said; written once by the thread that gets there first.
struct last_words {
    enum state_of : std::uint32_t { none = 0, being_written, complete };

    std::atomic<std::uint32_t> state{none};
    std::uint32_t level = 0;      // criticality
    std::uint32_t what_for = 0;   // purpose
    std::uint32_t owner = 0;      // owner_kind
    std::uint64_t at_ns = 0;      // monotonic
    std::uint64_t refused = 0;    // so much was asked for
    std::uint64_t limit = 0;      // all ones: none
    std::uint64_t reserve = 0;    //
    std::uint64_t charged = 0;    // by everybody under the limit
    std::uint64_t touched = 0;    // likewise, as it was last measured
    std::uint64_t grown_over = 0; // nanoseconds
    std::uint64_t owner_charged[words_owner_count]{};
    std::uint64_t owner_touched[words_owner_count]{};
    std::int64_t owner_grown[words_owner_count]{};
    char caller[64]{}; // library+0x..., empty: not known
};

// Pages charged to each owner at some moments of the last seconds. One writer, the launcher; a sample
// whose time is 0 is empty or being written.
struct growth {
    static constexpr std::uint32_t samples_kept = 8;
    static constexpr std::uint64_t period_ns = 250'000'000;
    static constexpr std::uint64_t look_back_ns = 1'000'000'000;

    struct sample {
        std::atomic<std::uint64_t> at_ns{0};
        std::atomic<std::uint64_t> charged[words_owner_count]{};
    };
    sample samples[samples_kept]{};
    std::atomic<std::uint32_t> next{0};

    bool is_due(std::uint64_t now) const noexcept {
        const std::uint32_t last = next.load(std::memory_order_relaxed) + samples_kept - 1;
        return now - samples[last % samples_kept].at_ns.load(std::memory_order_relaxed) >=
               period_ns;
    }
    template <class PagesOf>
    void note(std::uint64_t now, PagesOf pages_of_owner) noexcept {
        const std::uint32_t n = next.load(std::memory_order_relaxed);
        sample& s = samples[n % samples_kept];
        s.at_ns.store(0, std::memory_order_release);
        for (std::uint32_t k = 0; k < words_owner_count; ++k) {
            s.charged[k].store(pages_of_owner(k), std::memory_order_release);
        }
        s.at_ns.store(now, std::memory_order_release);
        next.store(n + 1, std::memory_order_release);
    }
    // The latest that is a second old; null: none is, and it all grew since the start.
    const sample* base(std::uint64_t now) const noexcept {
        const sample* best = nullptr;
        std::uint64_t best_at = 0;
        for (const sample& s : samples) {
            const std::uint64_t at = s.at_ns.load(std::memory_order_acquire);
            if (at > best_at && at + look_back_ns <= now) {
                best = &s;
                best_at = at;
            }
        }
        return best;
    }
    void clear() noexcept {
        for (sample& s : samples) {
            s.at_ns.store(0, std::memory_order_relaxed);
        }
        next.store(0, std::memory_order_relaxed);
    }
};

} // namespace memreeve::telemetry
