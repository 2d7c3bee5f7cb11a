// SPDX-License-Identifier: MIT
// The heaps of one manager, so that somebody can look at all of them: a list that only grows, of places
// that are used again. Lock-free. A heap ends when the last of its users leaves: its owner's references
// together are one, whoever looks at it meanwhile another.
#pragma once

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

class owner_heap;

class heap_registry {
public:
    struct place {
        // Called once by the last user, afterwards the place is vacant.
        using ending = void (*)(place& p) noexcept;

        owner_heap* heap = nullptr;
        ending end = nullptr;
        place* next = nullptr;
        std::atomic<std::uint32_t> users{claimed};
    };
    static constexpr std::uint32_t claimed = 1u << 31;

    constexpr heap_registry() noexcept = default;
    heap_registry(const heap_registry&) = delete;
    heap_registry& operator=(const heap_registry&) = delete;

    // A vacant place, now the caller's (`claimed`); null: there is none.
    place* claim() noexcept {
        for (place* p = first_.load(std::memory_order_acquire); p != nullptr; p = p->next) {
            std::uint32_t vacant = 0;
            if (p->users.compare_exchange_strong(vacant, claimed, std::memory_order_acq_rel)) {
                return p;
            }
        }
        return nullptr;
    }
    // A new one, claimed; it stays where it is as long as the registry.
    void add(place& p) noexcept {
        p.next = first_.load(std::memory_order_relaxed);
        while (!first_.compare_exchange_weak(p.next, &p, std::memory_order_acq_rel)) {
        }
    }
    static void open(place& p) noexcept { p.users.store(1, std::memory_order_release); }
    static void vacate(place& p) noexcept { p.users.store(0, std::memory_order_release); }
    static void leave(place& p) noexcept {
        std::uint32_t u = p.users.load(std::memory_order_relaxed);
        while (!p.users.compare_exchange_weak(u, u == 1 ? claimed : u - 1,
                                              std::memory_order_acq_rel)) {
        }
        if (u == 1) {
            p.end(p);
        }
    }
    // visit(owner_heap&) for each that is open, until it answers false.
    template <class Visit>
    void for_each(Visit visit) noexcept {
        bool more = true;
        for (place* p = first_.load(std::memory_order_acquire); more && p != nullptr; p = p->next) {
            std::uint32_t u = p->users.load(std::memory_order_relaxed);
            while (u != 0 && u < claimed &&
                   !p->users.compare_exchange_weak(u, u + 1, std::memory_order_acq_rel)) {
            }
            if (u != 0 && u < claimed) {
                more = visit(*p->heap);
                leave(*p);
            }
        }
    }

private:
    std::atomic<place*> first_{nullptr};
};

} // namespace memreeve::manager
