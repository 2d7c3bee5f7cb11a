// SPDX-License-Identifier: MIT
// The C interface: faults on pages of ours, from the embedder's handler or from one of ours.
#include "capi/handles.hpp"
#include "prim/fault_signal.hpp"

#include <memreeve/memreeve.h>

#include <atomic>

using namespace memreeve;

namespace {

// Who is told of guards. An entry is written once, before its number is published: handlers read it at
// any time.
struct listener {
    mrv_guard_fn function = nullptr;
    void* context = nullptr;
};
constexpr unsigned listener_capacity = 32;
constinit listener listeners[listener_capacity];
constinit std::atomic<unsigned> listener_count{0};
constinit std::atomic<bool> is_being_changed{false};

struct question {
    prim::memory_fault fault;
    mrv_fault answer;
};

bool ask(mrv_host& h, std::uintptr_t about) noexcept {
    auto& q = *reinterpret_cast<question*>(about);
    switch (h.core->memory().deal_with_fault(q.fault.where, q.fault.tried)) {
    case manager::manager::fault_was::not_ours: break;
    case manager::manager::fault_was::guard: q.answer = MRV_FAULT_GUARD; break;
    case manager::manager::fault_was::watched: q.answer = MRV_FAULT_WATCHED; break;
    case manager::manager::fault_was::over: q.answer = MRV_FAULT_OVER; break;
    }
    return q.answer != MRV_FAULT_NOT_OURS;
}

question asked(const void* info, const void* context) noexcept {
    question q{prim::fault_of(info, context), MRV_FAULT_NOT_OURS};
    if (q.fault.is_fault) {
        static_cast<void>(capi::any_host(&ask, reinterpret_cast<std::uintptr_t>(&q)));
    }
    return q;
}

bool deal_with(const void* info, void* context) noexcept {
    const question q = asked(info, context);
    if (q.answer != MRV_FAULT_GUARD) {
        return q.answer != MRV_FAULT_NOT_OURS;
    }
    const unsigned known = listener_count.load(std::memory_order_acquire);
    const listener to = known != 0 ? listeners[known - 1] : listener{};
    if (to.function != nullptr) {
        mrv_guard_hit hit{};
        hit.size = sizeof hit;
        hit.address = reinterpret_cast<void*>(q.fault.where);
        hit.access = q.fault.kind;
        to.function(to.context, &hit);
    }
    return true;
}

// The number of a listener that says the same, or of a new one; 0: no room.
unsigned listener_for(mrv_guard_fn function, void* context) noexcept {
    const unsigned known = listener_count.load(std::memory_order_relaxed);
    const bool is_last = known != 0 && listeners[known - 1].function == function &&
                         listeners[known - 1].context == context;
    if (is_last) {
        return known;
    }
    if (known == listener_capacity) {
        return 0;
    }
    listeners[known] = {function, context};
    return known + 1;
}

} // namespace

extern "C" {

mrv_fault mrv_handle_fault(const void* siginfo, void* ucontext) noexcept {
    return asked(siginfo, ucontext).answer;
}

mrv_status mrv_install_fault_handler(mrv_guard_fn function, void* context) noexcept {
    if (is_being_changed.exchange(true, std::memory_order_acquire)) {
        return MRV_E_BUSY;
    }
    mrv_status status = MRV_E_OUT_OF_MEMORY;
    if (const unsigned number = listener_for(function, context); number != 0) {
        const unsigned before = listener_count.load(std::memory_order_relaxed);
        listener_count.store(number, std::memory_order_release);
        if (prim::put_fault_handler_first(&deal_with) == 0) {
            status = MRV_OK;
        } else {
            listener_count.store(before, std::memory_order_release);
        }
    }
    is_being_changed.store(false, std::memory_order_release);
    return status;
}

mrv_status mrv_remove_fault_handler(void) noexcept {
    if (is_being_changed.exchange(true, std::memory_order_acquire)) {
        return MRV_E_BUSY;
    }
    const bool done = prim::remove_fault_handler() == 0;
    is_being_changed.store(false, std::memory_order_release);
    return done ? MRV_OK : MRV_E_NOT_SUPPORTED;
}

} // extern "C"
