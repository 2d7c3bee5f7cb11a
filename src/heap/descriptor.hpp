// SPDX-License-Identifier: MIT
// What the heap knows about one range it took from its source: a slab of equal blocks, or one large
// block. Lives in metadata, never moves, is reused for the same size class when its pages have been
// given back.
//
// `used` is the life of a slab in one word:
//     0 .. capacity          backed; that many blocks are taken: live, in a magazine, being handed out
//     closed                 empty, its pages are being given back; nobody can allocate from it
//     closed | unbacked      no pages; whoever pops it may back it again
// and of a large block: 1 live, busy while resize() works on it, closed or closed | unbacked.
//
// A block of a slab has a bit, set while the block is taken, and a state (block_state.hpp), which is not
// 0 exactly while the block is live. Only who has the block in hand makes it so.
//
// States lie so that an address finds its own without knowing the block: one for each grain, the
// largest power of two that divides the block size, and the first one where the last six bits of its
// address are the grain's log2. A grain that begins no block has 0 for ever. Debug slabs, which no
// request finds that way, have one for each block, beside what else is known of it.
//
// `listed` is 1 while the slab is reachable for allocation (held by a magazine or as the bin's current
// slab, on one of the bin's stacks, or in the hands of the thread that popped it) and 0 otherwise. Who
// makes a slab worth listing looks at `listed` afterwards; who clears `listed` looks at `used`
// afterwards; both in the single total order, so one of the two lists it and no free block is
// forgotten. `held` keeps an empty slab from being closed.
#pragma once

#include "heap/block_state.hpp"
#include "heap/metadata.hpp"

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace memreeve::heap {

// A block of a debug slab: name and line (debug_blocks.hpp), kept after its end until it is handed out
// again; 0 while nobody has had it since the slab has had these pages. With its state.
struct named_state {
    std::atomic<std::uint64_t> origin;
    block_state state;
    std::atomic<std::uint32_t> size; // bytes that were asked for
};
static_assert(sizeof(named_state) == 16);

// In front of the caller's bytes in a block that allocate_debug made.
inline constexpr byte_count debug_lead = 16;

struct alignas(unit_size) descriptor {
    static constexpr std::uint32_t closed = 1u << 31;
    static constexpr std::uint32_t unbacked = 1u << 30;
    static constexpr std::uint32_t busy = 2;
    static constexpr std::uint32_t large_bin = ~0u;
    static constexpr unsigned reciprocal_shift = 40;

    // What every free reads. Only `base` and `bytes` change.
    std::atomic<address> base{0};     // of the range
    std::atomic<byte_count> bytes{0}; // of its pages
    std::uint64_t reciprocal = 0;     // 2^40 / block_size, rounded up
    block_state* states = nullptr;
    std::uint32_t span = 0;       // capacity * block_size; 0 for a large block
    std::uint32_t block_size = 0; // 0 for a large block
    std::uint32_t bin = large_bin;
    std::uint32_t capacity = 0;   // blocks; 1 for a large block
    std::uint32_t state_step = 0; // from a block's state to the next one's
    std::uint32_t unit = 0;       // of the records: where this one is

    alignas(unit_size) std::atomic<std::uint32_t> used{closed | unbacked};
    std::atomic<std::uint32_t> listed{1};
    std::atomic<std::uint32_t> held{0};
    std::atomic<std::uint32_t> next_in_stack{0}; // unit + 1
    std::atomic<std::uint32_t> hint{0};          // word of the bitmap to look at first; of a large
                                                 // block the pages of its range in front of it
    std::uint32_t next_of_all = 0;               // unit + 1
    std::atomic<std::uint64_t> origin{0};        // of a large block; 0: it has none
    std::atomic<byte_count> requested{0};        // and then its bytes
    std::atomic<address> left{0};                // where a large block was that is free

    bool has_origins() const noexcept { return bin != large_bin && bin >= class_count; }
    std::uint32_t words() const noexcept { return (capacity + 63) / 64; }
    std::atomic<std::uint64_t>* bits() noexcept {
        return reinterpret_cast<std::atomic<std::uint64_t>*>(this + 1);
    }
    block_state& state_of(std::uint32_t block) const noexcept {
        return states[std::size_t{block} * state_step];
    }
    // Of a debug slab.
    named_state& named(std::uint32_t block) const noexcept {
        return reinterpret_cast<named_state*>(reinterpret_cast<address>(states) -
                                              offsetof(named_state, state))[block];
    }
    std::uint32_t grains() const noexcept { return span >> grain_shift(block_size); }
    // Sets up the parts behind the descriptor. Its own fields are set.
    void lay_out() noexcept {
        span = capacity * block_size;
        reciprocal = ((std::uint64_t{1} << reciprocal_shift) + block_size - 1) / block_size;
        auto first = reinterpret_cast<address>(bits() + words());
        if (has_origins()) {
            state_step = sizeof(named_state);
            first += offsetof(named_state, state);
        } else {
            const unsigned shift = grain_shift(block_size);
            state_step = block_size >> shift;
            first = round_up(first - shift, 64) + shift;
        }
        states = reinterpret_cast<block_state*>(first);
        if (capacity % 64 != 0) {
            // No block: set for ever, so that looking for a clear bit never finds them.
            bits()[words() - 1].store(~std::uint64_t{0} << (capacity % 64),
                                      std::memory_order_relaxed);
        }
    }
    static constexpr std::uint32_t units_for(std::uint32_t blocks, std::uint32_t block_size,
                                             bool with_origins) noexcept {
        const std::uint32_t bytes =
            (blocks + 63) / 64 * 8 +
            (with_origins  ? blocks * static_cast<std::uint32_t>(sizeof(named_state))
             : blocks != 0 ? 63 + (blocks * block_size >> grain_shift(block_size))
                           : 0);
        return (static_cast<std::uint32_t>(sizeof(descriptor)) + bytes + unit_size - 1) / unit_size;
    }

    // Whether a block begins at `offset` into the slab, and which.
    bool is_block(byte_count offset, std::uint32_t& block) const noexcept {
        if (offset >= span) [[unlikely]] {
            return false;
        }
        block = static_cast<std::uint32_t>(offset * reciprocal >> reciprocal_shift);
        return block * block_size == offset;
    }
    // What the caller has of a block begins so far behind its beginning.
    byte_count lead() const noexcept {
        return has_origins() || origin.load(std::memory_order_relaxed) != 0 ? debug_lead : 0;
    }
    address large_block() const noexcept {
        return base.load(std::memory_order_acquire) +
               bytes_of(hint.load(std::memory_order_relaxed)) + lead();
    }
    bool is_large_live() const noexcept {
        const std::uint32_t u = used.load(std::memory_order_acquire);
        return u == 1 || u == busy;
    }

    bool is_worth_listing(std::uint32_t u) const noexcept {
        return (u & unbacked) != 0 || (u & closed) != 0 ? (u & unbacked) != 0 : u < capacity;
    }
    // Promises the caller up to `wanted` blocks; 0 when there are none or the slab is closed.
    std::uint32_t reserve_blocks(std::uint32_t wanted) noexcept {
        std::uint32_t u = used.load(std::memory_order_relaxed);
        while ((u & closed) == 0 && u < capacity) {
            const std::uint32_t n = wanted < capacity - u ? wanted : capacity - u;
            if (used.compare_exchange_weak(u, u + n, std::memory_order_acq_rel,
                                           std::memory_order_relaxed)) {
                return n;
            }
        }
        return 0;
    }
    // Blocks that reserve_blocks promised, at most `wanted` of them, of one word: the bits taken of
    // bits()[word]. At least one bit is clear for every promise, so a failed round means that another
    // thread has found one.
    std::uint64_t claim_reserved(std::uint32_t wanted, std::uint32_t& word) noexcept {
        const std::uint32_t count = words();
        std::uint32_t w = hint.load(std::memory_order_relaxed);
        for (;; ++w) {
            if (w >= count) {
                w = 0;
            }
            std::uint64_t seen = bits()[w].load(std::memory_order_relaxed);
            while (seen != ~std::uint64_t{0}) {
                std::uint64_t mine = 0;
                std::uint64_t rest = ~seen;
                for (std::uint32_t n = wanted; n != 0 && rest != 0; --n) {
                    mine |= rest & (~rest + 1);
                    rest &= rest - 1;
                }
                if (bits()[w].compare_exchange_weak(seen, seen | mine, std::memory_order_acq_rel,
                                                    std::memory_order_relaxed)) {
                    hint.store(w, std::memory_order_relaxed);
                    word = w;
                    return mine;
                }
            }
        }
    }
};
static_assert(sizeof(descriptor) == 2 * unit_size);

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
