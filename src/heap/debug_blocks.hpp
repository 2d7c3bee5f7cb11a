// SPDX-License-Identifier: MIT
// Blocks of DebugAlloc. Each lies in a block of a debug slab, or in a range of its own:
//
//   | 16 bytes: canary | the caller's bytes | 16 bytes: canary | what the size class leaves |
//   ^ a multiple of 16   ^ what is handed out
//
// The canaries depend on the block's address, so that copying a whole block does not carry one along,
// and none of their bytes is 0. What the heap believes (state, size, origin) is out of line as for
// every block (descriptor.hpp); the canaries are only looked at.
//
// A freed block is filled, and looked at again when it is handed out: what differs was written after
// the free. Only slabs' blocks: the pages of a large one are gone.
#pragma once

#include "heap/descriptor.hpp"
#include "heap/size_class.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::heap {

inline constexpr byte_count debug_tail = 16;
inline constexpr byte_count debug_room = debug_lead + debug_tail;
inline constexpr byte_count largest_debug = largest_small - debug_room;
inline constexpr unsigned char freed_byte = 0xdd;

// 1 | name (unit + 1, 31 bits) | line.
constexpr std::uint64_t origin_word(std::uint32_t name, int line) noexcept {
    return std::uint64_t{1} << 63 | std::uint64_t{name} << 32 | static_cast<std::uint32_t>(line);
}
constexpr std::uint32_t name_of_origin(std::uint64_t origin) noexcept {
    return static_cast<std::uint32_t>(origin >> 32) & ~(1u << 31);
}
constexpr int line_of_origin(std::uint64_t origin) noexcept {
    return static_cast<int>(static_cast<std::uint32_t>(origin));
}

// ---- canaries and fill ------------------------------------------------------------------------------

using bytes16 [[gnu::vector_size(16)]] = std::uint64_t;

inline bytes16 load16(address where) noexcept {
    bytes16 v;
    __builtin_memcpy(&v, reinterpret_cast<const void*>(where), sizeof v);
    return v;
}
inline void store16(address where, bytes16 v) noexcept {
    __builtin_memcpy(reinterpret_cast<void*>(where), &v, sizeof v);
}
inline bool is_zero(bytes16 v) noexcept { return (v[0] | v[1]) == 0; }

struct canaries {
    bytes16 in_front;
    bytes16 behind;

    // The lower half of every byte is fixed and not 0, the upper half is the address's.
    explicit canaries(address block) noexcept {
        const std::uint64_t mix = (block ^ block << 4) & 0xf0f0f0f0f0f0f0f0u;
        const bytes16 both{mix, mix};
        in_front = both ^ bytes16 { 0xabf3abf5a7f9adf1, 0xc9f1cdf3c5fbc7f3 };
        behind = both ^ bytes16 { 0x5b03a905f709fd0d, 0x390b3d0e3505370b };
    }
};

inline void draw_canaries(address block, byte_count size) noexcept {
    const canaries c(block);
    store16(block - debug_lead, c.in_front);
    store16(block + size, c.behind);
}
inline bool has_canaries(address block, byte_count size) noexcept {
    const canaries c(block);
    return is_zero((load16(block - debug_lead) ^ c.in_front) | (load16(block + size) ^ c.behind));
}

// All of a freed block's bytes, up to a multiple of 16.
inline byte_count filled_bytes(byte_count size) noexcept { return round_up(size, block_alignment); }
inline constexpr bytes16 freed_bytes{0x0101010101010101u * freed_byte,
                                     0x0101010101010101u * freed_byte};
inline constexpr byte_count short_fill = 256; // to be done in place

inline void fill_freed(address block, byte_count size) noexcept {
    const byte_count bytes = filled_bytes(size);
    if (bytes > short_fill) {
        __builtin_memset(reinterpret_cast<void*>(block), freed_byte, bytes);
        return;
    }
    for (byte_count i = 0; i != bytes; i += sizeof(bytes16)) {
        store16(block + i, freed_bytes);
    }
}
inline bool is_filled(address block, byte_count size) noexcept {
    bytes16 differs{};
    byte_count i = 0;
    const byte_count bytes = filled_bytes(size);
    for (; bytes - i >= 64; i += 64) {
        differs |= (load16(block + i) ^ freed_bytes) | (load16(block + i + 16) ^ freed_bytes) |
                   (load16(block + i + 32) ^ freed_bytes) | (load16(block + i + 48) ^ freed_bytes);
    }
    for (; i != bytes; i += sizeof(bytes16)) {
        differs |= load16(block + i) ^ freed_bytes;
    }
    return is_zero(differs);
}

// ---- what threads keep ------------------------------------------------------------------------------

// Blocks of debug slabs for one thread: taken from their slabs, not live. Last in, first out.
struct alignas(unit_size) debug_magazine {
    struct entry {
        std::atomic<address> block;
        std::atomic<named_state*> record;
    };
    static constexpr std::uint32_t largest_capacity = 32;

    std::atomic<std::uint32_t> count{0};
    std::uint32_t capacity = 0;

    entry* entries() noexcept { return reinterpret_cast<entry*>(this + 1); }
    static constexpr std::uint32_t capacity_for(std::uint32_t block_size) noexcept {
        return block_size <= 1024 ? largest_capacity : block_size <= 4096 ? 16 : 4;
    }
    static constexpr std::uint32_t units_for(std::uint32_t entries) noexcept {
        return 1 + static_cast<std::uint32_t>(entries * sizeof(entry) + unit_size - 1) / unit_size;
    }
    bool is_full() const noexcept { return count.load(std::memory_order_relaxed) == capacity; }
    void push(address block, named_state& record) noexcept {
        const std::uint32_t n = count.load(std::memory_order_relaxed);
        entries()[n].block.store(block, std::memory_order_relaxed);
        entries()[n].record.store(&record, std::memory_order_relaxed);
        count.store(n + 1, std::memory_order_relaxed);
    }
    // Precondition: count != 0.
    address pop(named_state*& record) noexcept {
        const std::uint32_t n = count.load(std::memory_order_relaxed) - 1;
        count.store(n, std::memory_order_relaxed);
        record = entries()[n].record.load(std::memory_order_relaxed);
        return entries()[n].block.load(std::memory_order_relaxed);
    }
};
static_assert(sizeof(debug_magazine) == unit_size);

// What a thread that calls DebugAlloc keeps, beside its cache, under the same rule of who is inside.
struct alignas(unit_size) debug_cache {
    // File names it came with lately (decision 17): by pointer and line, believed only when the
    // contents agree. `pointer` is written last.
    struct known_name {
        std::atomic<const char*> pointer{nullptr}; // the caller's
        std::atomic<const char*> text{nullptr};    // ours
        std::atomic<std::uint32_t> kept{0};
    };
    static constexpr std::uint32_t known_names = 8;

    known_name names[known_names]{};
    std::atomic<debug_magazine*> magazines[class_count]{};

    known_name& name_at(const char* file, int line) noexcept {
        return names[(reinterpret_cast<address>(file) / 16 + static_cast<std::uint32_t>(line)) %
                     known_names];
    }
};

} // namespace memreeve::heap
