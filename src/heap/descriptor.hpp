// SPDX-License-Identifier: MIT
// What the heap knows about one range it took from its source: a slab of equal blocks, or one large
// block. Lives in metadata, never moves, is reused for the same size class when its pages have been
// given back.
//
// `used` is the life of a slab in one word:
//     0 .. capacity          backed; that many blocks are live or being handed out
//     closed                 empty, its pages are being given back; nobody can allocate from it
//     closed | unbacked      no pages; whoever pops it may back it again
// and of a large block: 1 live, busy while resize() works on it, closed or closed | unbacked.
// A bit of the bitmap is set exactly while its block is live, so a second free of a block finds it
// clear whatever else is going on.
//
// `listed` is 1 while the slab is reachable for allocation (the bin's current slab, on one of its
// stacks, or in the hands of the thread that popped it) and 0 otherwise. Who makes a slab worth
// listing looks at `listed` afterwards; who clears `listed` looks at `used` afterwards; both in the
// single total order, so one of the two lists it and no free block is forgotten.
#pragma once

#include "heap/metadata.hpp"

#include <atomic>
#include <bit>
#include <cstdint>

namespace memreeve::heap {

struct alignas(unit_size) descriptor {
    static constexpr std::uint32_t closed = 1u << 31;
    static constexpr std::uint32_t unbacked = 1u << 30;
    static constexpr std::uint32_t busy = 2;
    static constexpr std::uint32_t large_bin = ~0u;

    std::atomic<std::uint32_t> used{closed | unbacked};
    std::atomic<std::uint32_t> listed{1};
    std::atomic<std::uint32_t> next_in_stack{0}; // unit + 1
    std::uint32_t next_of_all = 0;               // unit + 1
    std::uint32_t unit = 0;
    std::uint32_t bin = large_bin;
    std::uint32_t capacity = 0;         // blocks; 1 for a large block
    std::uint32_t block_size = 0;       // 0 for a large block
    std::atomic<std::uint32_t> hint{0}; // word of the bitmap to look at first; of a large block the
                                        // pages of its range in front of it
    std::uint32_t has_origins = 0;
    std::atomic<address> base{0};         // of the range
    std::atomic<byte_count> bytes{0};     // of its pages
    std::atomic<std::uint64_t> origin{0}; // of a large block

    std::uint32_t words() const noexcept { return (capacity + 63) / 64; }
    std::atomic<std::uint64_t>* bits() noexcept {
        return reinterpret_cast<std::atomic<std::uint64_t>*>(this + 1);
    }
    address large_block() const noexcept {
        return base.load(std::memory_order_acquire) +
               bytes_of(hint.load(std::memory_order_relaxed));
    }
    bool is_large_live() const noexcept {
        const std::uint32_t u = used.load(std::memory_order_acquire);
        return u == 1 || u == busy;
    }
    // Name and line of each block of a debug slab, behind the bitmap; see origin_word.
    std::atomic<std::uint64_t>* origins() noexcept { return bits() + words(); }

    static constexpr std::uint32_t units_for(std::uint32_t blocks, bool with_origins) noexcept {
        const std::uint32_t words = (blocks + 63) / 64 + (with_origins ? blocks : 0);
        return 1 + (words * 8 + unit_size - 1) / unit_size;
    }
    bool is_worth_listing(std::uint32_t u) const noexcept {
        return (u & unbacked) != 0 || (u & closed) != 0 ? (u & unbacked) != 0 : u < capacity;
    }
    // Promises the caller one block; false when there is none or the slab is closed.
    bool reserve_block() noexcept {
        std::uint32_t u = used.load(std::memory_order_relaxed);
        while ((u & closed) == 0 && u < capacity) {
            if (used.compare_exchange_weak(u, u + 1, std::memory_order_acq_rel,
                                           std::memory_order_relaxed)) {
                return true;
            }
        }
        return false;
    }
    // The block that reserve_block promised. At least one bit is clear for every promise, so a
    // failed round means that another thread has found one.
    std::uint32_t claim_reserved_block() noexcept {
        const std::uint32_t count = words();
        std::uint32_t w = hint.load(std::memory_order_relaxed);
        for (;; ++w) {
            if (w >= count) {
                w = 0;
            }
            std::uint64_t seen = bits()[w].load(std::memory_order_relaxed);
            while (seen != ~std::uint64_t{0}) {
                const auto bit = static_cast<unsigned>(std::countr_one(seen));
                if (bits()[w].compare_exchange_weak(seen, seen | std::uint64_t{1} << bit,
                                                    std::memory_order_acq_rel,
                                                    std::memory_order_relaxed)) {
                    hint.store(w, std::memory_order_relaxed);
                    return w * 64 + bit;
                }
            }
        }
    }
};
static_assert(sizeof(descriptor) == unit_size);

// A stack of descriptors. The upper half of the head counts changes: a head that was popped and
// pushed meanwhile is not mistaken for an unchanged one.
class descriptor_stack {
public:
    void push(descriptor& d) noexcept {
        std::uint64_t seen = head_.load(std::memory_order_relaxed);
        std::uint64_t next = 0;
        do {
            d.next_in_stack.store(static_cast<std::uint32_t>(seen), std::memory_order_relaxed);
            next = ((seen >> 32) + 1) << 32 | (d.unit + 1);
        } while (!head_.compare_exchange_weak(seen, next, std::memory_order_acq_rel,
                                              std::memory_order_relaxed));
    }
    descriptor* pop(const metadata& records) noexcept {
        std::uint64_t seen = head_.load(std::memory_order_acquire);
        while (static_cast<std::uint32_t>(seen) != 0) {
            auto* d = static_cast<descriptor*>(records.at(static_cast<std::uint32_t>(seen) - 1));
            const std::uint64_t next =
                ((seen >> 32) + 1) << 32 | d->next_in_stack.load(std::memory_order_relaxed);
            if (head_.compare_exchange_weak(seen, next, std::memory_order_acq_rel,
                                            std::memory_order_acquire)) {
                return d;
            }
        }
        return nullptr;
    }

private:
    std::atomic<std::uint64_t> head_{0};
};

} // namespace memreeve::heap
