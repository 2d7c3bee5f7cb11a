// SPDX-License-Identifier: MIT
// Where the heap writes down what it knows: never among the blocks it hands out, so that a program
// which writes past its block cannot confuse the heap.
//
// An append-only store of 64-byte units, numbered from 0. Chunk k holds first_chunk_units << k of
// them, so a number finds its chunk by its highest bit and nothing ever moves. Records live until
// the heap is destroyed; what is no longer needed is reused by its owner (descriptor stacks).
// Lock-free: a thread stopped anywhere in here stops nobody.
#pragma once

#include "heap/page_source.hpp"

#include <atomic>
#include <bit>
#include <cstdint>

namespace memreeve::heap {

inline constexpr std::uint32_t unit_size = 64;
inline constexpr std::uint32_t first_chunk_units = 128;
inline constexpr std::uint32_t chunk_limit = 24; // 128 GiB of records

class metadata {
public:
    // `first` is zeroed memory of first_chunk_units; further chunks come from `source` with `tag`.
    void start(page_source& source, std::uint64_t tag, void* first) noexcept {
        source_ = &source;
        tag_ = tag;
        chunks_[0].store(reinterpret_cast<address>(first), std::memory_order_release);
    }

    // The number of `units` fresh, zeroed, adjacent units. Precondition: units <= first_chunk_units.
    // Errors are the source's; nothing has changed then.
    result<std::uint32_t> append(std::uint32_t units, criticality level) noexcept;

    void* at(std::uint32_t unit) const noexcept {
        const std::uint32_t k = chunk_of(unit);
        return reinterpret_cast<void*>(chunks_[k].load(std::memory_order_acquire) +
                                       address{unit - start_of(k)} * unit_size);
    }
    // True when `unit` has been appended, so that at() may be asked.
    bool holds(std::uint32_t unit) const noexcept {
        return unit < next_.load(std::memory_order_acquire);
    }
    page_count pages() const noexcept { return pages_.load(std::memory_order_relaxed); }
    // Gives back every chunk but the first, which belongs to the heap object.
    void give_back() noexcept;

private:
    static constexpr std::uint32_t chunk_of(std::uint32_t unit) noexcept {
        return static_cast<std::uint32_t>(std::bit_width(unit / first_chunk_units + 1)) - 1;
    }
    static constexpr std::uint32_t start_of(std::uint32_t chunk) noexcept {
        return first_chunk_units * ((1u << chunk) - 1);
    }

    page_source* source_ = nullptr;
    std::uint64_t tag_ = 0;
    std::atomic<std::uint32_t> next_{0};
    std::atomic<page_count> pages_{0};
    std::atomic<address> chunks_[chunk_limit]{};
};

} // namespace memreeve::heap
