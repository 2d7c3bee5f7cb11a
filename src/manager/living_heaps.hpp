// SPDX-License-Identifier: MIT
// The heaps over one manager's pages, so that others than their users can have them give back what they
// keep: whoever is refused, the notifier at Low, mrv_host_trim.
//
// A seat: free -> claimed -> live -> closing -> claimed -> free. Who trims a heap is counted in its seat as a
// visitor while it does. Closing waits for nobody, for a visitor may have been stopped by the runtime
// (decision 18): the heap is destroyed by whoever leaves last, its user or a visitor.
//
//   word    visitors << 2 | state
#pragma once

#include "base/units.hpp"
#include "heap/heap.hpp"
#include "manager/pages.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

struct heap_seat {
    manager_pages pages{}; // the heap's source
    heap::heap* heap = nullptr;
    std::atomic<std::uint32_t> word{0};
};

class living_heaps {
public:
    // Heaps beyond it live too; only their own requests make them give back.
    static constexpr std::uint32_t capacity = 4096;

    constexpr living_heaps() noexcept = default;

    // A seat of the caller's, or null: all are taken, or there is no memory for them.
    heap_seat* claim() noexcept;
    // seat.heap is there: it may be trimmed from now on.
    static void go_live(heap_seat& seat) noexcept;
    // No heap came of it.
    static void give_up(heap_seat& seat) noexcept;
    // Nobody asks the heap for anything any more: it is destroyed now, or by the visitor it has.
    static void close(heap_seat& seat) noexcept;
    // Every heap gives back what it keeps although no block lies there, but what other threads' caches
    // hold. Bytes given back. Any thread, also inside a request of a heap.
    byte_count trim() noexcept;
    // In the only thread of a fork's child: no visitor is there.
    void settle_after_fork() noexcept;
    // The seats' pages, to be unmapped; nobody may be inside.
    range release() noexcept;

private:
    enum : std::uint32_t {
        free = 0,
        claimed = 1,
        live = 2,
        closing = 3,
        state_mask = 3,
        visitor = 4
    };

    static void destroy(heap_seat& seat) noexcept;
    static void leave(heap_seat& seat) noexcept;

    std::atomic<heap_seat*> seats_{nullptr};
    std::atomic<std::uint32_t> high_{0}; // seats from here on have never been taken
};

} // namespace memreeve::manager
