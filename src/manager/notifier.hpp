// SPDX-License-Identifier: MIT
// Who is told how scarce memory is. One thread, started by the first subscription and ended after the
// last, tells all subscribers in turn; it is never the thread of a request (decision 14).
//
// How news arrives: the owner tree calls `moved` after every charge and refund; while somebody is
// subscribed, that looks whether an account crossed a watermark (pressure/policy.hpp) and only then
// wakes the thread. Without subscribers it is one load. What the system says is looked at every
// 100 ms while somebody is subscribed and the sensors are on; pressure that others make
// (pressure_watch.hpp) counts as Low for as long as it is told.
//
// The tables of slots and bands are mapped by the first subscription: before it this costs nothing.
//
// A subscriber slot: free -> claimed -> live -> closing -> free. The thread names the slot it turns
// to in `visiting_` and then looks at its state again; unsubscribe first leaves `live` and then looks
// at `visiting_`. So either the thread sees that the slot is closing, or unsubscribe sees the visit
// and waits for its end. From inside a call of its own, unsubscribe does not wait; the thread frees
// the slot when the call returns.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "budget/budget.hpp"
#include "manager/edge_watch.hpp"
#include "manager/pressure_watch.hpp"
#include "manager/sensors.hpp"
#include "pressure/policy.hpp"
#include "prim/prim.hpp"
#include "telemetry/image_record.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

struct notice {
    pressure::availability level = pressure::availability::neutral;
    pressure::load load; // as GetMemoryLoad would say at this moment
};

// Names one subscription for ever: a slot and its generation. 0: none.
enum class subscription_id : std::uint64_t { none = 0 };

class notifier {
public:
    static constexpr std::uint32_t capacity = 1024; // subscribers at once
    static constexpr std::uint64_t system_period_ns = sensors::fresh_ns;

    // Called on the notifier's thread, one call at a time, no lock held; may call anything of
    // memreeve, unsubscribe included. False: do not tell this subscriber again.
    using deliver = bool (*)(void* context, const notice& n) noexcept;

    constexpr notifier() noexcept = default;
    notifier(const notifier&) = delete;
    notifier& operator=(const notifier&) = delete;

    // All three must outlive the notifier; `image` may be null (nothing is counted there).
    void open(budget::tree& accounts, sensors& system, telemetry::image_record* image) noexcept;
    // Called on the thread before anybody is told of Low, once for all who are told at that time: what
    // is kept and not used goes back. Before the first subscription.
    void relieve_first(void (*relieve)(void* context) noexcept, void* context) noexcept {
        relieve_ = relieve;
        relieve_context_ = context;
    }
    // Ends the thread and waits for it; no call runs or starts afterwards. Not from inside a call.
    void close() noexcept;

    // Tells `who`'s availability from now on, at once if it is low. Claiming a slot and starting
    // the thread may fail, going live cannot: so a caller that replaces a subscription can prepare
    // the new one before it ends the old one.
    // Errors: out_of_address_space (every slot is taken, or no thread can be started: os_code).
    // `group`, if not null, is what await_calls asks for.
    result<subscription_id> prepare(owner_id who, deliver function, void* context,
                                    const void* group = nullptr) noexcept;
    void go_live(subscription_id id) noexcept;
    result<subscription_id> subscribe(owner_id who, deliver function, void* context) noexcept;
    // Also ends what was prepared and has not gone live (go_live then does nothing).
    // After it, no call for this subscription runs or starts, unless it is called from inside one:
    // then that one goes on. Returns the context, null when there was no such subscription any more
    // (of two that end the same one, one gets it).
    void* unsubscribe(subscription_id id) noexcept;
    // Waits until no call of this group runs, not even one whose subscription was ended from inside.
    // Returns at once inside a call.
    void await_calls(const void* group) noexcept;

    // Who is told within the request that crosses a watermark.
    edge_watch& edges() noexcept { return edges_; }

    // Limits or the system have changed: look again.
    void ring() noexcept;
    bool has_subscribers() const noexcept { return live_.load(std::memory_order_relaxed) != 0; }

private:
    enum slot_state : std::uint64_t { slot_free = 0, slot_claimed, slot_live, slot_closing };
    static constexpr std::uint64_t state_mask = 3;
    // Process id << 3 | one of these: a fork's child has no such thread. running -> ending ->
    // ended is the thread's own doing (ending -> running when somebody came meanwhile); ended: to be
    // joined by who starts the next one, or by close().
    enum : std::uint32_t {
        thread_none = 0,
        thread_starting,
        thread_running,
        thread_ending,
        thread_ended
    };
    static constexpr std::uint32_t thread_mask = 7;
    static constexpr std::uint32_t band_capacity = 4096;

    struct slot {
        std::atomic<std::uint64_t> word{0}; // generation << 2 | slot_state
        owner_id who = owner_id::none;
        deliver tell = nullptr;
        void* context = nullptr;
        const void* group = nullptr;
        // The thread's own:
        std::uint64_t seen_generation = 0;
        bool is_muted = false;
        pressure::policy policy{};
    };

    static void moved(void* self, owner_id who) noexcept;
    static void run_thread(void* self) noexcept;
    void run() noexcept;
    std::uint64_t look(std::uint32_t index, std::uint64_t now, bool* has_inside) noexcept;
    void call(slot& s, pressure::availability level) noexcept;
    result<void> map_tables() noexcept;
    slot& slot_at(std::uint64_t index) noexcept {
        return tables_.load(std::memory_order_acquire)->slots[index];
    }
    result<void> start() noexcept;
    bool ends() noexcept;
    void leave() noexcept;
    void sleep(std::uint32_t heard, std::uint64_t until) noexcept;
    bool has_thread() const noexcept;
    bool note_band(owner_id who) noexcept;
    unsigned permille_of(owner_id who, bool* has_inside) noexcept;
    bool is_own_thread() const noexcept;

    budget::tree* accounts_ = nullptr;
    sensors* system_ = nullptr;
    edge_watch edges_{};
    telemetry::image_record* image_ = nullptr;

    alignas(64) std::atomic<std::uint32_t> live_{0};
    std::atomic<std::uint32_t> wanted_{0}; // slots that are not free: what the thread lives for
    alignas(64) std::atomic<std::uint32_t> bell_{0};
    std::atomic<std::uint32_t> is_waiting_{0};
    std::atomic<std::uint32_t> visiting_{0};               // slot + 1, 0: none; waited on
    std::atomic<const void*> visiting_group_{nullptr};     // of the call that runs
    std::atomic<std::uint32_t> leaving_{0};                // unsubscribers that may be waiting
    std::atomic<std::uint32_t> thread_state_{thread_none}; // waited on
    std::atomic<std::uint32_t> stop_{0};
    std::atomic<std::int32_t> thread_id_{0};
    bool ended_inside_ = false; // of the call that runs; the thread's own
    bool has_relieved_ = false; // in this round of looks; likewise
    void (*relieve_)(void* context) noexcept = nullptr;
    void* relieve_context_ = nullptr;
    pressure_watch watch_{}; // the thread's own
    prim::thread_handle thread_{};
    std::atomic<std::uint32_t> high_{0}; // one past the highest slot ever used
    struct tables {
        slot slots[capacity];
        // Between which watermarks each account was when last seen.
        std::atomic<std::uint8_t> bands[band_capacity];
    };
    // Null until somebody has subscribed: who has an id or saw live_ or high_ above 0 finds them.
    std::atomic<tables*> tables_{nullptr};
};

} // namespace memreeve::manager
