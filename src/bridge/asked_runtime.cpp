// SPDX-License-Identifier: MIT
#include "bridge/asked_runtime.hpp"

#include "prim/helper_thread.hpp"
#include "prim/prim.hpp"

#include <dlfcn.h>

namespace memreeve::bridge {

using telemetry::runtime_kind;
using answer = asked_runtime::answer;

namespace {

constexpr int first_real_time = 34; // glibc keeps 32 and 33
constexpr int last_real_time = 64;

// What is asked and not waited for by the runtime: how long its thread gets to come to it.
constexpr std::uint64_t patience_ns = 1'000'000'000;

const void* object_of(const void* code) noexcept {
    Dl_info info{};
    return ::dladdr(code, &info) != 0 ? info.dli_fbase : nullptr;
}

// Mono stops the world by real-time signals, our thread too once it is known; their handlers lie in
// Mono's own code. All others stay blocked. False: there are no handlers yet, so that Mono, which has a
// domain by then, would wait for ever for a thread that it knows: seen within the first 30 ms.
bool open_suspending_signals(const void* mono_code) noexcept {
    const void* const mono = object_of(mono_code);
    bool has_any = false;
    for (int s = first_real_time; s <= last_real_time; ++s) {
        const address handler = prim::handler_of(s);
        if (handler != 0 && object_of(reinterpret_cast<const void*>(handler)) == mono) {
            prim::open_signal(s);
            has_any = true;
        }
    }
    return has_any;
}

void wake_asker(void* adapter, std::ptrdiff_t) noexcept {
    prim::wake_all(&static_cast<mrv_cpython*>(adapter)->finished);
}

} // namespace

constinit mrv_cpython asked_runtime::cpython_{};

bool asked_runtime::is_found(int found) noexcept {
    has_looked_ = true;
    is_there_ = found != 0;
    return is_there_;
}

answer asked_runtime::collect(runtime_kind kind, main_isolate& isolate) noexcept {
    if (has_looked_ && !is_there_) {
        return answer::never;
    }
    switch (kind) {
    case runtime_kind::mono: return collect_mono();
    case runtime_kind::jvm: return collect_jvm();
    case runtime_kind::cpython: return collect_cpython();
    case runtime_kind::node: return collect_node(isolate);
    case runtime_kind::coreclr: return collect_coreclr();
    case runtime_kind::other: break;
    }
    return answer::never;
}

void asked_runtime::is_underway() noexcept {
    underway_->fetch_add(1, std::memory_order_acq_rel);
    prim::wake_all(reinterpret_cast<const std::uint32_t*>(underway_));
}

bool asked_runtime::prepare(runtime_kind kind) noexcept {
    if (kind == runtime_kind::cpython && !has_looked_) {
        static_cast<void>(find_cpython());
    }
    if (kind != runtime_kind::mono || (has_looked_ && !is_there_)) {
        return true;
    }
    return (has_looked_ || is_found(mrv_mono_find(&mono_))) && attach_to_mono();
}

bool asked_runtime::attach_to_mono() noexcept {
    if (!is_attached_) {
        // A host without a main assembly has begun by then.
        constexpr std::uint64_t beginning_ns = 1'000'000'000;
        const std::uint64_t now = prim::now_ns();
        met_at_ = met_at_ != 0 ? met_at_ : now;
        if (mrv_mono_has_program(&mono_) == 0 && now - met_at_ < beginning_ns) {
            return false;
        }
        is_attached_ = open_suspending_signals(reinterpret_cast<const void*>(mono_.collect)) &&
                       mrv_mono_attach(&mono_) != 0;
    }
    return is_attached_;
}

answer asked_runtime::collect_mono() noexcept {
    if (!has_looked_ && !is_found(mrv_mono_find(&mono_))) {
        return answer::never;
    }
    if (!attach_to_mono()) {
        return answer::not_now;
    }
    is_underway(); // who rang may hold Mono's own lock
    return mrv_mono_collect(&mono_) != 0 ? answer::collected : answer::not_now;
}

bool asked_runtime::leave_if_ending() noexcept {
    if (mrv_mono_is_ending(&mono_) == 0) {
        return false;
    }
    mrv_mono_close(&mono_);
    return true;
}

answer asked_runtime::collect_jvm() noexcept {
    // The launcher is known before it has loaded libjvm.so.
    if (!has_looked_ && mrv_jvm_find(&jvm_) != 0) {
        static_cast<void>(is_found(1));
    }
    if (is_there_ && !is_attached_) {
        is_attached_ = mrv_jvm_attach(&jvm_) != 0;
    }
    if (is_attached_) {
        is_underway();
    }
    // Direct buffers go when the reference handler has come to them.
    return is_attached_ && mrv_jvm_collect(&jvm_) != 0 ? answer::asked : answer::not_now;
}

bool asked_runtime::find_cpython() noexcept {
    if (cpython_.context != nullptr) { // found by this process's parent
        mrv_cpython_forget(&cpython_);
        return is_found(1);
    }
    if (!is_found(mrv_cpython_find(&cpython_))) {
        return false;
    }
    cpython_.done = wake_asker;
    cpython_.context = &cpython_;
    return true;
}

answer asked_runtime::collect_cpython() noexcept {
    if (!has_looked_ && !find_cpython()) {
        return answer::never;
    }
    const std::uint32_t before = __atomic_load_n(&cpython_.finished, __ATOMIC_ACQUIRE);
    if (mrv_cpython_collect(&cpython_) == 0) {
        return answer::not_now;
    }
    is_underway();
    const std::uint64_t since = prim::now_ns();
    while (mrv_cpython_is_done(&cpython_) == 0 && prim::now_ns() - since < patience_ns) {
        prim::wait_on(&cpython_.finished, before, patience_ns);
    }
    return answer::collected;
}

void main_isolate::note() noexcept {
    if (isolate_.load(std::memory_order_relaxed) != nullptr || !has_v8_ ||
        prim::thread_id() != prim::process_id()) {
        return;
    }
    has_v8_ = node_.current != nullptr || mrv_node_find(&node_) != 0;
    if (!has_v8_ || mrv_node_note(&node_) == 0) {
        return;
    }
    is_told_of_end_ = is_told_of_end_ || mrv_node_at_end(&node_, ended, this) != 0;
    if (is_told_of_end_) {
        isolate_.store(node_.isolate, std::memory_order_release);
    }
}

void main_isolate::forget() noexcept {
    if (isolate_.load(std::memory_order_relaxed) == nullptr ||
        prim::thread_id() != prim::process_id()) {
        return;
    }
    isolate_.store(nullptr, std::memory_order_seq_cst);
    wait_until_nobody_asks();
}

void main_isolate::ended(void* self) noexcept {
    main_isolate& me = *static_cast<main_isolate*>(self);
    me.has_v8_ = false;
    me.forget();
}

// Who holds it only leaves a word and wakes, but a busy machine may keep the processor from him for
// seconds. Not for ever: what he waits for could be something that this thread holds.
void main_isolate::wait_until_nobody_asks() noexcept {
    constexpr std::uint64_t longest_ns = 30'000'000'000;
    constexpr std::uint64_t at_once_ns = 100'000;
    constexpr std::uint64_t step_ns = 1'000'000;
    const std::uint32_t nobody_wakes = 0;
    const std::uint64_t since = prim::now_ns();
    for (std::uint64_t passed = 0;
         is_held_.load(std::memory_order_seq_cst) && passed < longest_ns;) {
        if (passed < at_once_ns) {
            prim::yield();
        } else {
            prim::wait_on(&nobody_wakes, 0, step_ns);
        }
        passed = prim::now_ns() - since;
    }
}

answer asked_runtime::collect_node(main_isolate& isolate) noexcept {
    if (!has_looked_ && !is_found(mrv_node_find(&node_))) {
        return answer::never;
    }
    node_.isolate = isolate.hold();
    const bool is_asked = mrv_node_collect(&node_) != 0;
    isolate.release();
    if (!is_asked) {
        return answer::not_now;
    }
    is_underway();
    return answer::asked;
}

// Where nothing listens after so many times nothing will; nobody who does not answer is asked for ever.
answer asked_runtime::collect_coreclr() noexcept {
    constexpr unsigned most_without_socket = 100; // of 0.1 s
    constexpr unsigned most_failed = 3;
    is_underway();
    switch (coreclr_.collect()) {
    case dotnet_diagnostics::outcome::collected: fruitless_ = 0; return answer::collected;
    case dotnet_diagnostics::outcome::not_there: fruitless_ += 1; break;
    case dotnet_diagnostics::outcome::failed: fruitless_ += most_without_socket / most_failed + 1;
    }
    return fruitless_ >= most_without_socket ? answer::never : answer::not_now;
}

} // namespace memreeve::bridge
