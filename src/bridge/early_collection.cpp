// SPDX-License-Identifier: MIT
#include "bridge/early_collection.hpp"

#include "bridge/asking.hpp"
#include "prim/prim.hpp"

#include <algorithm>
#include <new>

namespace memreeve::bridge {

using telemetry::image_record;
using telemetry::runtime_kind;

namespace {

constexpr byte_count stack_size = byte_count{512} << 10; // touched only as far as it is used
constexpr std::uint64_t calm_ns = 1'000'000'000;
constexpr std::uint64_t not_now_ns = 100'000'000;
constexpr std::uint64_t settle_ns = 60'000'000;
constexpr std::uint64_t settle_step_ns = 3'000'000;

runtime_kind runtime_of(state& s) noexcept {
    return static_cast<runtime_kind>(s.image().runtime.load(std::memory_order_relaxed));
}

const std::uint32_t* futex(const std::atomic<std::uint32_t>& word) noexcept {
    return reinterpret_cast<const std::uint32_t*>(&word);
}

} // namespace

constinit early_collection the_early_collection{};

bool early_collection::is_wanted(state& s) const noexcept {
    return !s.is_embedded() && !s.is_left_alone() && !s.shares_memory() &&
           manager::is_asked(s.books().header().flags.load(std::memory_order_relaxed),
                             runtime_of(s));
}

void early_collection::start(state& s) noexcept {
    // Other runtimes start threads of their own before they allocate much.
    if (runtime_of(s) == runtime_kind::cpython) {
        start_thread(s);
    }
}

void early_collection::note_thread(state& s) noexcept {
    if (is_there_.load(std::memory_order_acquire) == thread_starting) {
        return; // our own
    }
    has_threads_.store(true, std::memory_order_relaxed);
    start_thread(s);
    if (runtime_of(s) == runtime_kind::node &&
        is_there_.load(std::memory_order_relaxed) == thread_there) {
        isolate_.note();
    }
}

void early_collection::settle_after_fork(state& s) noexcept {
    if (is_there_.exchange(thread_none, std::memory_order_relaxed) == thread_none) {
        return;
    }
    parent_had_it_.store(true, std::memory_order_relaxed);
    isolate_.settle_after_fork();
    wake_at_.store(asleep, std::memory_order_relaxed);
    s.books().tree().set_watcher({});
}

// Where the parent had threads of its own, one of them may have held what starting a thread needs.
void early_collection::start_in_child(state& s) noexcept {
    if (parent_had_it_.exchange(false, std::memory_order_relaxed) &&
        !has_threads_.load(std::memory_order_relaxed)) {
        start(s);
    }
}

void early_collection::start_thread(state& s) noexcept {
    std::uint32_t nobody = thread_none;
    if (is_there_.load(std::memory_order_relaxed) != thread_none || !is_wanted(s) ||
        !is_there_.compare_exchange_strong(nobody, thread_starting, std::memory_order_acq_rel)) {
        return;
    }
    root_ = &s.books().tree().at(owner_id::root);
    bell_ = &s.image().asker_bell;
    const bool watches =
        (s.books().header().flags.load(std::memory_order_relaxed) & manager::flag_ask) != 0;
    ::new (static_cast<void*>(&policy_)) pressure::asking(
        watches ? pressure::asking::when::at_watermarks : pressure::asking::when::lowered);
    helper_ = {run_thread, &s, "memreeve-ask"};
    if (prim::start_helper(helper_, stack_size) != 0) {
        is_there_.store(thread_none, std::memory_order_release); // at the next occasion
        return;
    }
    if (watches) {
        s.books().tree().set_watcher({moved, this});
    }
    is_there_.store(thread_there, std::memory_order_release);
}

// On the memory path: one word, and at a watermark a wake.
void early_collection::moved(void* context, owner_id) noexcept {
    early_collection& me = *static_cast<early_collection*>(context);
    page_count at = me.wake_at_.load(std::memory_order_relaxed);
    if (at == asleep || me.used() < at ||
        !me.wake_at_.compare_exchange_strong(at, asleep, std::memory_order_acq_rel)) {
        return;
    }
    asking::gives_way_to(me.underway_, me.underway_.load(std::memory_order_relaxed));
    me.bell_->fetch_add(1, std::memory_order_acq_rel);
    prim::wake_all(futex(*me.bell_));
}

page_count early_collection::used() const noexcept {
    return root_->charged.load(std::memory_order_relaxed) +
           root_->touched.load(std::memory_order_relaxed);
}

// What requests of the lowest level may use.
page_count early_collection::top() const noexcept {
    const page_count limit = root_->limit.load(std::memory_order_relaxed);
    const page_count reserve = root_->reserve.load(std::memory_order_relaxed);
    return limit - std::min(reserve, limit);
}

void early_collection::run_thread(void* self) noexcept {
    the_early_collection.run(*static_cast<state*>(self));
}

// What asking begins with takes its time: done before it is needed, but not at the start.
page_count early_collection::next_look(state& s, asked_runtime& runtime,
                                       page_count at) const noexcept {
    const page_count ready_at = at / 4 * 3;
    if (at == asleep || used() < ready_at) {
        return at == asleep ? asleep : ready_at;
    }
    return runtime.prepare(runtime_of(s)) ? at : std::min(at, used() + 64);
}

void early_collection::run(state& s) noexcept {
    asked_runtime runtime;
    runtime.tells(underway_);
    const manager::ledger_header& header = s.books().header();
    std::uint32_t limits_seen = 0; // what was changed before is news too
    std::uint32_t notices_seen = header.pressure_notices.load(std::memory_order_acquire);
    std::uint64_t calm_at = prim::now_ns() + calm_ns;
    std::uint64_t not_before = 0;
    while (!runtime.leave_if_ending()) {
        const std::uint32_t heard = bell_->load(std::memory_order_acquire);
        const std::uint64_t now = prim::now_ns();
        const page_count ceiling = top();
        if (now >= calm_at) {
            policy_.calm(used(), ceiling);
            calm_at = now + calm_ns;
        }
        if (const std::uint32_t n = header.limit_changes.load(std::memory_order_acquire);
            n != limits_seen) {
            limits_seen = n;
            policy_.limit_changed();
            not_before = policy_.not_before();
        }
        if (const std::uint32_t n = header.pressure_notices.load(std::memory_order_acquire);
            n != notices_seen) {
            notices_seen = n;
            policy_.pressed(used());
        }
        const page_count at = policy_.ask_at(ceiling);
        const bool is_wanted = policy_.is_wanted(used(), ceiling);
        if (is_wanted && (now >= not_before || policy_.is_urgent(used()))) {
            const asked_runtime::answer a = ask(s, runtime);
            runtime.is_underway();
            if (a == asked_runtime::answer::never) {
                break;
            }
            const std::uint64_t ended = prim::now_ns();
            not_before = policy_.not_before();
            if (a == asked_runtime::answer::not_now) {
                policy_.drop_pressure();
                not_before = ended + not_now_ns;
                policy_.drop_urgency();
            }
            calm_at = ended + calm_ns;
        } else if (is_wanted || now < not_before) {
            runtime.is_underway();
            wake_at_.store(policy_.urgent_at(), std::memory_order_seq_cst);
            if (!policy_.is_urgent(used())) {
                prim::wait_on(futex(*bell_), heard, std::min(calm_ns, not_before - now));
            }
            wake_at_.store(asleep, std::memory_order_relaxed);
        } else {
            runtime.is_underway();
            const page_count next = next_look(s, runtime, at);
            wake_at_.store(next, std::memory_order_seq_cst);
            if (used() < next) {
                prim::wait_on(futex(*bell_), heard, calm_ns);
            }
            wake_at_.store(asleep, std::memory_order_relaxed);
        }
    }
    // There is nothing here that could be asked, or not any more: no other thread is started.
    s.books().tree().set_watcher({});
}

// The least that is in use until then; sooner when what came back is worth the asking.
page_count early_collection::settled(page_count before, std::uint64_t until) const noexcept {
    const std::uint32_t nobody_wakes = 0;
    page_count least = used();
    while (!pressure::asking::was_of_use(before, least, top()) && prim::now_ns() < until) {
        prim::wait_on(&nobody_wakes, 0, settle_step_ns);
        least = std::min(least, used());
    }
    return least;
}

asked_runtime::answer early_collection::ask(state& s, asked_runtime& runtime) noexcept {
    const page_count before = used();
    const page_count ceiling = top();
    const bool is_over = before >= ceiling;
    const bool is_pressed = policy_.is_pressed() && !is_over;
    const std::uint64_t begun = prim::now_ns();
    const asked_runtime::answer a = runtime.collect(runtime_of(s), isolate_);
    if (a != asked_runtime::answer::collected && a != asked_runtime::answer::asked) {
        return a;
    }
    page_count after =
        a == asked_runtime::answer::asked ? settled(before, prim::now_ns() + settle_ns) : used();
    if (is_over || is_pressed) {
        // What our heap keeps warm is nobody's then; another process's requests could not take it.
        static_cast<void>(s.memory().relieve());
        after = used();
    }
    const std::uint64_t ended = prim::now_ns();
    policy_.asked(before, after, ceiling, begun, ended, pages_of(runtime.freed_inside()));
    image_record& image = s.image();
    image.notifications[0].fetch_add(1, std::memory_order_relaxed);
    image.asked.times.fetch_add(1, std::memory_order_relaxed);
    image.asked.before.fetch_add(bytes_of(before), std::memory_order_relaxed);
    image.asked.after.fetch_add(bytes_of(after), std::memory_order_relaxed);
    image.asked.ns.fetch_add(ended - begun, std::memory_order_relaxed);
    image.asked.over_limit.fetch_add(is_over ? 1 : 0, std::memory_order_relaxed);
    image.asked.pressed.fetch_add(is_pressed ? 1 : 0, std::memory_order_relaxed);
    return a;
}

} // namespace memreeve::bridge
