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

void draw_canaries(address block, byte_count size) noexcept;
bool has_canaries(address block, byte_count size) noexcept;

// Blocks of debug slabs for one thread: taken from their slabs, not live. Last in, first out.
struct alignas(unit_size) debug_magazine {
    struct entry {
        std::atomic<address> carrier;
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
    void push(address carrier, named_state& record) noexcept {
        const std::uint32_t n = count.load(std::memory_order_relaxed);
        entries()[n].carrier.store(carrier, std::memory_order_relaxed);
        entries()[n].record.store(&record, std::memory_order_relaxed);
        count.store(n + 1, std::memory_order_relaxed);
    }
    // Precondition: count != 0.
    address pop(named_state*& record) noexcept {
        const std::uint32_t n = count.load(std::memory_order_relaxed) - 1;
        count.store(n, std::memory_order_relaxed);
        record = entries()[n].record.load(std::memory_order_relaxed);
        return entries()[n].carrier.load(std::memory_order_relaxed);
    }
};
static_assert(sizeof(debug_magazine) == unit_size);

// What a thread that calls DebugAlloc keeps, beside its cache and under the same `inside`.
struct alignas(unit_size) debug_cache {
    // File names it came with lately (decision 17): by pointer and line, believed only when the
    // contents agree.
    struct known_name {
        std::atomic<const char*> pointer{nullptr};
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
