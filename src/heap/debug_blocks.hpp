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

#include "heap/cache.hpp"
#include "heap/descriptor.hpp"
#include "heap/directory.hpp"
#include "heap/poison.hpp"
#include "heap/size_class.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>

// Sanitizers see what is read, and that a cache goes from a thread that ended to the next.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MEMREEVE_NAMES_BY_LIBC 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMREEVE_NAMES_BY_LIBC 1
#endif

namespace memreeve::heap {

inline constexpr byte_count debug_tail = 16;
inline constexpr byte_count debug_room = debug_lead + debug_tail;
inline constexpr byte_count largest_debug = largest_small - debug_room;
inline constexpr unsigned char freed_byte = 0xdd;

// Of the slab's block around `size` bytes of the caller's; size <= largest_debug.
constexpr byte_count debug_class_size(byte_count size) noexcept {
    return size_of_class(class_of(size + debug_room));
}

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

inline void fill_freed(address block, byte_count size) noexcept {
    const address end = block + filled_bytes(size);
    address a = block;
    for (; end - a >= 64; a += 64) {
        store16(a, freed_bytes);
        store16(a + 16, freed_bytes);
        store16(a + 32, freed_bytes);
        store16(a + 48, freed_bytes);
    }
    for (; a != end; a += sizeof(bytes16)) {
        store16(a, freed_bytes);
    }
}
inline bool is_filled(address block, byte_count size) noexcept {
    const address end = block + filled_bytes(size);
    bytes16 differs{};
    address a = block;
    for (; end - a >= 64; a += 64) {
        differs |= (load16(a) ^ freed_bytes) | (load16(a + 16) ^ freed_bytes) |
                   (load16(a + 32) ^ freed_bytes) | (load16(a + 48) ^ freed_bytes);
    }
    for (; a != end; a += sizeof(bytes16)) {
        differs |= load16(a) ^ freed_bytes;
    }
    return is_zero(differs);
}

// ---- what threads keep ------------------------------------------------------------------------------

// Blocks of debug slabs for one thread: taken from their slabs, not live. Last in, first out. The first
// entry holds no block, the last one ends what can be pushed: it has no record.
struct alignas(unit_size) debug_magazine {
    struct entry {
        std::atomic<address> block{0};
        std::atomic<named_state*> record{nullptr};
    };
    static constexpr std::uint32_t largest_capacity = 32;

    std::uint32_t capacity = 0;

    entry* floor() noexcept { return reinterpret_cast<entry*>(this + 1); }
    static constexpr std::uint32_t capacity_for(std::uint32_t block_size) noexcept {
        return block_size <= 1024 ? largest_capacity : block_size <= 4096 ? 16 : 4;
    }
    static constexpr std::uint32_t units_for(std::uint32_t entries) noexcept {
        return 1 + static_cast<std::uint32_t>((entries + 2) * sizeof(entry) + unit_size - 1) /
                       unit_size;
    }
};
static_assert(sizeof(debug_magazine) == unit_size);

// What a thread that calls DebugAlloc keeps, beside its cache, under the same rule of who is inside.
struct alignas(unit_size) debug_cache {
    // File names it came with lately (decision 17): by pointer and line, believed only when the
    // contents agree. `pointer` is written last.
    struct alignas(unit_size) known_name {
        std::atomic<const char*> pointer{nullptr}; // the caller's
        std::atomic<const char*> text{nullptr};    // ours, of `bytes` with the NUL
        std::atomic<std::uint32_t> bytes{0};
        std::atomic<std::uint32_t> kept{0};
        bytes16 head{};      // the first bytes of the text,
        bytes16 head_mask{}; // as far as it has them, with the NUL

        void set(const char* file, const char* own, std::uint32_t name) noexcept {
            const auto length = static_cast<std::uint32_t>(std::strlen(own)) + 1;
            pointer.store(nullptr, std::memory_order_relaxed);
#if !defined(MEMREEVE_NAMES_BY_LIBC)
            const std::size_t in_head = length < sizeof head ? length : sizeof head;
            head = head_mask = bytes16{};
            std::memcpy(&head, own, in_head);
            std::memset(&head_mask, 0xff, in_head);
#endif
            text.store(own, std::memory_order_relaxed);
            bytes.store(length, std::memory_order_relaxed);
            kept.store(name, std::memory_order_relaxed);
            pointer.store(file, std::memory_order_relaxed);
        }
    };
    static constexpr std::uint32_t known_names = 8;

    const volatile char* single_threaded = nullptr; // options::single_threaded
    known_name names[known_names]{};
    std::atomic<debug_magazine*> magazines[class_count]{};
    std::atomic<debug_magazine::entry*> tops[class_count]{};
    debug_magazine::entry nothing[2]{}; // the top where there is no magazine

    debug_cache() noexcept {
        for (auto& top : tops) {
            top.store(nothing, std::memory_order_relaxed);
        }
    }
    std::uint32_t count_of(std::uint32_t class_index) noexcept {
        debug_magazine* const m = magazines[class_index].load(std::memory_order_relaxed);
        return m == nullptr ? 0
                            : static_cast<std::uint32_t>(
                                  tops[class_index].load(std::memory_order_relaxed) - m->floor());
    }
    // False: it is full, or there is none.
    bool push(std::uint32_t class_index, address block, named_state& record) noexcept {
        debug_magazine::entry* const next = tops[class_index].load(std::memory_order_relaxed) + 1;
        if (next->record.load(std::memory_order_relaxed) == nullptr) {
            return false;
        }
        next->block.store(block, std::memory_order_relaxed);
        next->record.store(&record, std::memory_order_relaxed);
        tops[class_index].store(next, std::memory_order_relaxed);
        return true;
    }
    // 0: it is empty.
    address pop(std::uint32_t class_index, named_state*& record) noexcept {
        debug_magazine::entry* const top = tops[class_index].load(std::memory_order_relaxed);
        const address block = top->block.load(std::memory_order_relaxed);
        if (block != 0) {
            record = top->record.load(std::memory_order_relaxed);
            tops[class_index].store(top - 1, std::memory_order_relaxed);
        }
        return block;
    }

    known_name& name_at(const char* file, int line) noexcept {
        return names[(reinterpret_cast<address>(file) / 16 + static_cast<std::uint32_t>(line)) %
                     known_names];
    }
};

// ---- the life of a block ----------------------------------------------------------------------------

// False: not live, or a canary is damaged, and then it stays live. Of those who free a block at the same
// time exactly one is told true: unlike a plain block's free this one writes into the block. `base` is
// where the slab was when the block was looked up: it may have gone since and have come back elsewhere.
inline bool end_debug_life(address block, const descriptor& slab, address base, std::uint32_t i,
                           const volatile char* single_threaded) noexcept {
    named_state& record = slab.named(i);
    if (single_threaded != nullptr && *single_threaded != 0) [[likely]] {
        if (!end_life(record.state)) {
            return false;
        }
    } else if (record.state.exchange(0, std::memory_order_acq_rel) == 0) {
        return false;
    }
    const byte_count size = record.size.load(std::memory_order_relaxed);
    if (slab.base.load(std::memory_order_relaxed) != base || !has_canaries(block, size))
        [[unlikely]] {
        record.state.store(1, std::memory_order_release);
        return false;
    }
    fill_freed(block, size);
    close_to_use(block - debug_lead, debug_class_size(size));
    return true;
}

// Nobody has written to the block since it was freed, if it was.
inline bool is_untouched(address block, const named_state& record) noexcept {
    if (record.origin.load(std::memory_order_relaxed) == 0) {
        return true;
    }
    const byte_count size = record.size.load(std::memory_order_relaxed);
    open_to_use(block - debug_lead, debug_class_size(size));
    return is_filled(block, size);
}

// The block is in our hands: its bit is set, it is not live.
inline void begin_debug_life(address block, named_state& record, byte_count size,
                             std::uint64_t origin) noexcept {
    open_to_use(block - debug_lead, debug_class_size(size));
    record.origin.store(origin, std::memory_order_relaxed);
    record.size.store(static_cast<std::uint32_t>(size), std::memory_order_relaxed);
    draw_canaries(block, size);
    record.state.store(1, std::memory_order_release);
}

// ---- the quick way ----------------------------------------------------------------------------------
// As take_quickly and keep_quickly of cache.hpp; without a call, so that the interface's methods contain
// it. What is not done here the heap does otherwise.

// Precondition: the caller is inside. False also when it would have to be looked at closely. Reads at
// most fifteen bytes beyond a text that differs, and none of another page. The name of a null pointer is 0.
inline bool is_known(debug_cache& own, const char* file, int line, std::uint32_t& name) noexcept {
    if (file == nullptr) {
        return true;
    }
    const debug_cache::known_name& known = own.name_at(file, line);
    name = known.kept.load(std::memory_order_relaxed);
    if (known.pointer.load(std::memory_order_relaxed) != file) [[unlikely]] {
        return false;
    }
#if defined(MEMREEVE_NAMES_BY_LIBC)
    return std::strcmp(file, known.text.load(std::memory_order_relaxed)) == 0;
#else
    const byte_count bytes = known.bytes.load(std::memory_order_relaxed);
    __asm__("" : "+r"(file)); // how long a text it points to, if the compiler knows, is not asked
    const auto is = reinterpret_cast<address>(file);
    constexpr byte_count step = sizeof(bytes16);
    if ((is & (page_size - 1)) + bytes > page_size - step) [[unlikely]] {
        return false;
    }
    bytes16 differs = (load16(is) & known.head_mask) ^ known.head;
    if (bytes > step) {
        const auto was = reinterpret_cast<address>(known.text.load(std::memory_order_relaxed));
        const byte_count last = bytes - step;
        for (byte_count i = step; i < last; i += step) {
            differs |= load16(is + i) ^ load16(was + i);
        }
        differs |= load16(is + last) ^ load16(was + last);
    }
    return is_zero(differs);
#endif
}

// 0: nothing was done.
[[gnu::always_inline]] inline address take_debug_quickly(const door& d, byte_count size,
                                                         const char* file, int line) noexcept {
    size += size == 0; // D5
    if (size > largest_debug || !d.enter()) [[unlikely]] {
        return 0;
    }
    cache& c = d.inner();
    address block = 0;
    std::uint32_t name = 0;
    if (debug_cache* const own = c.debug.load(std::memory_order_relaxed);
        own != nullptr && is_known(*own, file, line, name)) [[likely]] {
        auto& top = own->tops[class_of(size + debug_room)];
        debug_magazine::entry* const last = top.load(std::memory_order_relaxed);
        block = last->block.load(std::memory_order_relaxed);
        if (block != 0) [[likely]] {
            named_state& record = *last->record.load(std::memory_order_relaxed);
            if (is_untouched(block, record)) [[likely]] {
                top.store(last - 1, std::memory_order_relaxed);
                c.counts.count_allocation();
                begin_debug_life(block, record, size, origin_word(name, line));
            } else {
                block = 0; // to be told
            }
        }
    }
    d.leave();
    return block;
}

// A live block of a debug slab goes into what this thread keeps. False: nothing was done.
[[gnu::always_inline]] inline bool keep_debug_quickly(const door& d, address block) noexcept {
    if (!d.enter()) [[unlikely]] {
        return false;
    }
    cache& c = d.inner();
    bool done = false;
    debug_cache* const own = c.debug.load(std::memory_order_relaxed);
    const descriptor* const slab =
        directory::look_in(*c.roots[directory::root_of(block)].get(), block);
    const address base = slab != nullptr ? slab->base.load(std::memory_order_acquire) : 0;
    std::uint32_t i = 0;
    if (own != nullptr && slab != nullptr && slab->bin - class_count < class_count &&
        slab->is_block(block - debug_lead - base, i)) [[likely]] {
        auto& top = own->tops[slab->bin - class_count];
        debug_magazine::entry* const next = top.load(std::memory_order_relaxed) + 1;
        if (next->record.load(std::memory_order_relaxed) != nullptr &&
            end_debug_life(block, *slab, base, i, own->single_threaded)) [[likely]] {
            next->block.store(block, std::memory_order_relaxed);
            next->record.store(&slab->named(i), std::memory_order_relaxed);
            top.store(next, std::memory_order_relaxed);
            c.counts.count_free();
            done = true;
        }
    }
    d.leave();
    return done;
}

} // namespace memreeve::heap
