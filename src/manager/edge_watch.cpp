// SPDX-License-Identifier: MIT
#include "manager/edge_watch.hpp"

#include "manager/sensors.hpp"
#include "manager/usage.hpp"
#include "prim/prim.hpp"

namespace memreeve::manager {

namespace {

using pressure::availability;

// As pressure::policy, without its times.
availability next_level(availability now, unsigned permille) noexcept {
    if (permille >= pressure::enter_low ||
        (now == availability::low && permille >= pressure::leave_low)) {
        return availability::low;
    }
    if (permille >= pressure::leave_high ||
        (now != availability::high && permille >= pressure::enter_high)) {
        return availability::neutral;
    }
    return availability::high;
}

} // namespace

edge_watch::watch* edge_watch::map_watches() noexcept {
    watch* there = watches_.load(std::memory_order_acquire);
    address at = 0;
    if (there != nullptr || prim::map_records(capacity * sizeof(watch), &at) != 0) {
        return there;
    }
    if (watches_.compare_exchange_strong(there, reinterpret_cast<watch*>(at),
                                         std::memory_order_acq_rel)) {
        return reinterpret_cast<watch*>(at);
    }
    prim::unmap(at, capacity * sizeof(watch)); // somebody was faster
    return there;
}

void edge_watch::close() noexcept {
    live_.store(0, std::memory_order_relaxed);
    if (watch* const mapped = watches_.exchange(nullptr, std::memory_order_acq_rel)) {
        prim::unmap(reinterpret_cast<address>(mapped), capacity * sizeof(watch));
    }
}

result<std::uint32_t> edge_watch::add(owner_id who, tell function, void* context) noexcept {
    watch* const watches = map_watches();
    for (std::uint32_t i = 0; watches != nullptr && i < capacity; ++i) {
        watch& w = watches[i];
        std::uint32_t expected = state_free;
        if (!w.state.compare_exchange_strong(expected, state_claimed, std::memory_order_acq_rel)) {
            continue;
        }
        w.who = who;
        w.function = function;
        w.context = context;
        bool has_inside = false;
        const availability now =
            next_level(availability::neutral, permille_on_the_way(*accounts_, who, &has_inside));
        // Low is told by the look below, what is better is where it begins.
        w.level.store(
            static_cast<std::uint32_t>(now == availability::low ? availability::neutral : now),
            std::memory_order_relaxed);
        live_.fetch_add(1, std::memory_order_seq_cst);
        w.state.store(state_live, std::memory_order_seq_cst);
        look_at(w);
        return i;
    }
    return errc::out_of_address_space;
}

void* edge_watch::remove(std::uint32_t index) noexcept {
    watch& w = watches_.load(std::memory_order_acquire)[index];
    std::uint32_t expected = state_live;
    if (!w.state.compare_exchange_strong(expected, state_closing, std::memory_order_seq_cst)) {
        return nullptr;
    }
    while (w.inside.load(std::memory_order_seq_cst) != 0) {
        prim::yield();
    }
    void* const context = w.context;
    live_.fetch_sub(1, std::memory_order_relaxed);
    w.state.store(state_free, std::memory_order_release);
    return context;
}

void edge_watch::look_at_all() noexcept {
    watch* const watches = watches_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < capacity; ++i) {
        if (watches[i].state.load(std::memory_order_relaxed) == state_live) {
            look_at(watches[i]);
        }
    }
}

void edge_watch::look_at(watch& w) noexcept {
    w.inside.fetch_add(1, std::memory_order_seq_cst);
    if (w.state.load(std::memory_order_seq_cst) == state_live) {
        // Our charge or refund came before this, and who changes the level reads the usage again
        // afterwards: so of the last charge and the last change one sees the other.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        std::uint32_t level = w.level.load(std::memory_order_seq_cst);
        for (;;) {
            bool has_inside = false;
            const unsigned permille = permille_on_the_way(*accounts_, w.who, &has_inside);
            const auto next = next_level(static_cast<availability>(level), permille);
            const auto wanted = static_cast<std::uint32_t>(next);
            if (wanted == level) {
                break;
            }
            if (w.level.compare_exchange_strong(level, wanted, std::memory_order_seq_cst)) {
                level = wanted;
                const pressure::room rooms[] = {budget_room(*accounts_, w.who)};
                w.function(w.context, next, pressure::load_of(rooms));
            }
        }
    }
    w.inside.fetch_sub(1, std::memory_order_release);
}

} // namespace memreeve::manager
