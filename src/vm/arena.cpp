// SPDX-License-Identifier: MIT
#include "vm/arena.hpp"

namespace memreeve::vm {

namespace {
// Bits [first, last) of one word.
constexpr std::uint64_t bits(std::uint32_t first, std::uint32_t last) noexcept {
    const std::uint64_t below_last =
        last == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << last) - 1;
    return below_last & ~((std::uint64_t{1} << first) - 1);
}
} // namespace

bool arena::set(std::uint32_t first, std::uint32_t count) noexcept {
    const std::uint32_t end = first + count;
    for (std::uint32_t i = first; i < end;) {
        const std::uint32_t word_end = (i / 64 + 1) * 64;
        const std::uint32_t stop = end < word_end ? end : word_end;
        const std::uint64_t mask = bits(i % 64, stop - (i & ~63U));
        std::uint64_t seen = taken[i / 64].load(std::memory_order_relaxed);
        do {
            if ((seen & mask) != 0) {
                clear(first, i - first);
                return false;
            }
        } while (
            !taken[i / 64].compare_exchange_weak(seen, seen | mask, std::memory_order_acq_rel));
        i = stop;
    }
    own_lane().used.fetch_add(count, std::memory_order_relaxed);
    return true;
}

void arena::clear(std::uint32_t first, std::uint32_t count) noexcept {
    const std::uint32_t end = first + count;
    for (std::uint32_t i = first; i < end;) {
        const std::uint32_t word_end = (i / 64 + 1) * 64;
        const std::uint32_t stop = end < word_end ? end : word_end;
        taken[i / 64].fetch_and(~bits(i % 64, stop - (i & ~63U)), std::memory_order_acq_rel);
        i = stop;
    }
}

bool arena::find_free(std::uint32_t from, std::uint32_t to, std::uint32_t count,
                      std::uint32_t alignment, std::uint32_t& first) const noexcept {
    std::uint32_t run = 0;
    for (std::uint32_t i = from; i < to;) {
        const std::uint64_t w = taken[i / 64].load(std::memory_order_relaxed) >> (i % 64);
        const std::uint32_t left = 64 - i % 64;
        if ((w & 1) != 0) {
            const std::uint64_t zeros = ~w;
            const auto ones = zeros == 0 ? 64U : static_cast<std::uint32_t>(__builtin_ctzll(zeros));
            run = 0;
            i += ones < left ? ones : left;
            continue;
        }
        std::uint32_t free_here = w == 0 ? left : static_cast<std::uint32_t>(__builtin_ctzll(w));
        free_here = free_here < left ? free_here : left;
        free_here = free_here < to - i ? free_here : to - i;
        run += free_here;
        i += free_here;
        const std::uint32_t aligned = (i - run + alignment - 1) & ~(alignment - 1);
        if (aligned + count <= i) {
            first = aligned;
            return true;
        }
    }
    return false;
}

address arena::take(std::uint32_t count, std::uint32_t alignment, bool commits) noexcept {
    const std::uint32_t size = granules.load(std::memory_order_relaxed);
    const std::uint32_t refused = too_many.load(std::memory_order_relaxed);
    if (count == 0 || count > size || (refused != 0 && count >= refused)) {
        return 0;
    }
    std::atomic<std::uint32_t>& hint =
        is_for_small() ? own_lane().hint : lanes[commits ? 0 : 1].hint;
    std::uint32_t from = hint.load(std::memory_order_relaxed) % size;
    bool wrapped = false;
    for (;;) {
        std::uint32_t first = 0;
        if (find_free(from, size, count, alignment, first)) {
            if (set(first, count)) {
                hint.store(first + count, std::memory_order_relaxed);
                return begin.load(std::memory_order_relaxed) + first * granule_size;
            }
            from = first; // somebody took part of it: look on from here
            continue;
        }
        if (wrapped) {
            too_many.store(count, std::memory_order_relaxed);
            return 0;
        }
        wrapped = true;
        from = 0;
    }
}

void arena::clear_all() noexcept {
    const std::uint32_t size = granules.load(std::memory_order_relaxed);
    const std::uint32_t lane_distance = is_for_small() ? chunk_granules : size / 2;
    too_many.store(0, std::memory_order_relaxed);
    opened.store(0, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < lane_count; ++i) {
        lanes[i].hint.store(i * lane_distance % size, std::memory_order_relaxed);
        lanes[i].used.store(0, std::memory_order_relaxed);
        lanes[i].is_dense.store(0, std::memory_order_relaxed);
        lanes[i].until_asked.store(0, std::memory_order_relaxed);
    }
    for (std::uint32_t w = 0; w < size / 64; ++w) {
        taken[w].store(0, std::memory_order_relaxed);
        for (auto* map : {&open, &dirty, &parked, &warm}) {
            if ((*map)[w].load(std::memory_order_relaxed) != 0) {
                (*map)[w].store(0, std::memory_order_relaxed);
            }
        }
    }
}

address arena::look(std::uint32_t count) noexcept {
    std::uint32_t first = 0;
    const std::uint32_t size = granules.load(std::memory_order_relaxed);
    return count <= size && find_free(0, size, count, 1, first)
               ? begin.load(std::memory_order_relaxed) + first * granule_size
               : 0;
}

bool arena::take_at(range r) noexcept {
    return set(slot_of(r.begin), static_cast<std::uint32_t>(r.size() >> granule_shift));
}

void arena::give(range r) noexcept {
    const std::uint32_t first = slot_of(r.begin);
    const auto count = static_cast<std::uint32_t>(r.size() >> granule_shift);
    lane& own = own_lane();
    own.used.fetch_sub(count, std::memory_order_relaxed);
    clear(first, count);
    if (too_many.load(std::memory_order_relaxed) != 0) {
        too_many.store(0, std::memory_order_relaxed);
    }
    // Low addresses first: freed space is used again before untouched space.
    const bool is_lower = first < granules.load(std::memory_order_relaxed) / 2;
    std::atomic<std::uint32_t>& hint = is_for_small() ? own.hint : lanes[is_lower ? 0 : 1].hint;
    if (first < hint.load(std::memory_order_relaxed)) {
        hint.store(first, std::memory_order_relaxed);
    }
}

range arena::closed_part(range r) const noexcept {
    const std::uint32_t end = slot_of(r.end);
    std::uint32_t first = slot_of(r.begin);
    const auto is_set = [&](std::uint32_t i) {
        return (open[i / 64].load(std::memory_order_relaxed) >> (i % 64) & 1) != 0;
    };
    while (first < end && is_set(first)) {
        ++first;
    }
    std::uint32_t last = first;
    while (last < end && !is_set(last)) {
        ++last;
    }
    const address base = begin.load(std::memory_order_relaxed);
    return {base + first * granule_size, base + last * granule_size};
}

std::uint32_t arena::set_open(range r, bool is_open) noexcept {
    const std::uint32_t changed = change(open, r, is_open);
    if (is_open) {
        opened.fetch_add(changed, std::memory_order_relaxed);
    } else {
        opened.fetch_sub(changed, std::memory_order_relaxed);
    }
    return changed;
}

std::uint32_t arena::change(bitmap which, range r, bool on) noexcept {
    const std::uint32_t end = slot_of(r.end);
    std::uint32_t changed = 0;
    for (std::uint32_t i = slot_of(r.begin); i < end;) {
        const std::uint32_t word_end = (i / 64 + 1) * 64;
        const std::uint32_t stop = end < word_end ? end : word_end;
        const std::uint64_t mask = bits(i % 64, stop - (i & ~63U));
        const std::uint64_t before = on ? which[i / 64].fetch_or(mask, std::memory_order_acq_rel)
                                        : which[i / 64].fetch_and(~mask, std::memory_order_acq_rel);
        changed +=
            static_cast<std::uint32_t>(__builtin_popcountll(on ? mask & ~before : mask & before));
        i = stop;
    }
    return changed;
}

bool arena::any(bitmap which, range r) const noexcept {
    const std::uint32_t end = slot_of(r.end);
    for (std::uint32_t i = slot_of(r.begin); i < end; ++i) {
        if ((which[i / 64].load(std::memory_order_relaxed) >> (i % 64) & 1) != 0) {
            return true;
        }
    }
    return false;
}

bool arena::all(bitmap which, range r) const noexcept {
    const std::uint32_t end = slot_of(r.end);
    for (std::uint32_t i = slot_of(r.begin); i < end; ++i) {
        if ((which[i / 64].load(std::memory_order_relaxed) >> (i % 64) & 1) == 0) {
            return false;
        }
    }
    return true;
}

} // namespace memreeve::vm
