// SPDX-License-Identifier: MIT
#include "manager/living_heaps.hpp"

#include "prim/prim.hpp"

namespace memreeve::manager {

namespace {

constexpr byte_count table_bytes = round_up(living_heaps::capacity * sizeof(heap_seat), page_size);

} // namespace

heap_seat* living_heaps::claim() noexcept {
    heap_seat* all = seats_.load(std::memory_order_acquire);
    if (all == nullptr) {
        address at = 0;
        if (prim::map_records(table_bytes, &at) != 0) {
            return nullptr;
        }
        // Zeroed is free; a seat's source is set by who claims it.
        all = reinterpret_cast<heap_seat*>(at);
        heap_seat* none = nullptr;
        if (!seats_.compare_exchange_strong(none, all, std::memory_order_acq_rel)) {
            prim::unmap(at, table_bytes);
            all = none;
        }
    }
    for (std::uint32_t i = 0; i < capacity; ++i) {
        std::uint32_t expected = free;
        if (all[i].word.load(std::memory_order_relaxed) == free &&
            all[i].word.compare_exchange_strong(expected, claimed, std::memory_order_acq_rel)) {
            std::uint32_t high = high_.load(std::memory_order_relaxed);
            while (high <= i && !high_.compare_exchange_weak(high, i + 1)) {
            }
            return &all[i];
        }
    }
    return nullptr;
}

void living_heaps::go_live(heap_seat& seat) noexcept {
    seat.word.store(live, std::memory_order_release);
}

void living_heaps::give_up(heap_seat& seat) noexcept {
    seat.word.store(free, std::memory_order_release);
}

void living_heaps::close(heap_seat& seat) noexcept {
    // live | visitors becomes closing | visitors; a spare seat outside the table has no visitor.
    if (seat.word.fetch_or(closing, std::memory_order_acq_rel) < visitor) {
        destroy(seat);
    }
}

// By one only: the close that found no visitor, or the visitor that left a closing seat as the last.
void living_heaps::destroy(heap_seat& seat) noexcept {
    seat.heap->destroy();
    static_cast<void>(seat.pages.trim());
    seat.word.store(free, std::memory_order_release);
}

void living_heaps::leave(heap_seat& seat) noexcept {
    if (seat.word.fetch_sub(visitor, std::memory_order_acq_rel) - visitor == closing) {
        destroy(seat);
    }
}

byte_count living_heaps::trim() noexcept {
    heap_seat* const all = seats_.load(std::memory_order_acquire);
    byte_count given = 0;
    for (std::uint32_t i = 0; i < high_.load(std::memory_order_acquire); ++i) {
        heap_seat& seat = all[i];
        std::uint32_t word = seat.word.load(std::memory_order_acquire);
        while ((word & state_mask) == live &&
               !seat.word.compare_exchange_weak(word, word + visitor, std::memory_order_acq_rel)) {
        }
        if ((word & state_mask) == live) {
            given += seat.heap->trim();
            leave(seat);
        }
    }
    return given;
}

void living_heaps::settle_after_fork() noexcept {
    heap_seat* const all = seats_.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < high_.load(std::memory_order_relaxed); ++i) {
        const std::uint32_t state = all[i].word.load(std::memory_order_relaxed) & state_mask;
        all[i].word.store(state, std::memory_order_relaxed);
        if (state == closing) {
            destroy(all[i]);
        }
    }
}

range living_heaps::release() noexcept {
    const auto at = reinterpret_cast<address>(seats_.exchange(nullptr, std::memory_order_acq_rel));
    high_.store(0, std::memory_order_relaxed);
    return at != 0 ? range{at, at + table_bytes} : range{};
}

} // namespace memreeve::manager
