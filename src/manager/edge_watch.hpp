// SPDX-License-Identifier: MIT
// Native code that is told on the requesting thread, before the request returns, that a budget crossed
// a watermark. (A runtime's callback is told by the notifier's thread alone, decision 14.)
//
// Each watch keeps the level it has told. Whoever moves an account looks at every watch afterwards;
// of several who see the same edge the one that changes the level tells it, and looks again, so that
// no edge is missed and none told twice. Edges that two threads cross at once may be told at once.
//
// Life of a watch: free -> claimed -> live -> closing -> free. Who tells counts itself in `inside`
// and then looks at the state; who ends a watch leaves `live` and then waits until nobody is inside.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "budget/budget.hpp"
#include "pressure/load.hpp"
#include "pressure/policy.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

class edge_watch {
public:
    static constexpr std::uint32_t capacity = 64;

    // Called within a request: may set words and wake, must not call memreeve nor block.
    using tell = void (*)(void* context, pressure::availability level,
                          const pressure::load& load) noexcept;

    constexpr edge_watch() noexcept = default;
    edge_watch(const edge_watch&) = delete;
    edge_watch& operator=(const edge_watch&) = delete;

    void open(const budget::tree& accounts) noexcept { accounts_ = &accounts; }
    void close() noexcept; // nobody is told, nobody moves an account
    // Tells `who`'s level when it changes; the level it has now is told only if it is low.
    // out_of_address_space: every watch is taken, or there is no memory for them.
    result<std::uint32_t> add(owner_id who, tell function, void* context) noexcept;
    // No call runs or starts afterwards; returns the context. Not from inside a call.
    void* remove(std::uint32_t index) noexcept;

    // After an account moved. Async-signal-safe.
    void look() noexcept {
        if (__builtin_expect(live_.load(std::memory_order_relaxed) != 0, 0)) {
            look_at_all();
        }
    }

private:
    enum : std::uint32_t { state_free = 0, state_claimed, state_live, state_closing };
    struct alignas(64) watch {
        std::atomic<std::uint32_t> state;
        std::atomic<std::uint32_t> inside;
        std::atomic<std::uint32_t> level; // pressure::availability
        owner_id who;
        tell function;
        void* context;
    };

    void look_at_all() noexcept;
    void look_at(watch& w) noexcept;
    watch* map_watches() noexcept;

    const budget::tree* accounts_ = nullptr;
    std::atomic<std::uint32_t> live_{0};
    std::atomic<watch*> watches_{nullptr}; // mapped by the first
};

} // namespace memreeve::manager
