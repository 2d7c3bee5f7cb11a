// SPDX-License-Identifier: MIT
#include "bridge/levels.hpp"

#include "bridge/asking.hpp"
#include "bridge/callers.hpp"
#include "bridge/refused_once.hpp"
#include "bridge/text.hpp"
#include "prim/process_view.hpp"

#include <sys/mman.h>

namespace memreeve::bridge {

using telemetry::purpose;
using telemetry::runtime_kind;

namespace {

constexpr byte_count large = byte_count{1} << 20;
// CoreCLR throws OutOfMemoryException when one of these is refused to its loader, JIT or metadata,
// provided that there is room left to throw it; smaller ones end it.
constexpr byte_count survivable_of_coreclr = byte_count{16} << 10;
constexpr byte_count arena_of_cpython = byte_count{256} << 10; // 1 MiB from 3.10 on

constexpr criticality by_size(byte_count size, criticality small) noexcept {
    return size >= large ? criticality::task : small;
}

bool is_applications(state& s) noexcept {
    const asking* const by = asking::now();
    return by != nullptr && kind_of_caller(s, by->caller()) == caller_kind::application;
}

// HotSpot names its own threads for the kernel too. What a collection or a compiler asks for ends it
// ("insufficient memory"), while the same line of libjvm serves a direct buffer, whose refusal a
// program's thread catches.
bool is_thread_of_hotspot() noexcept {
    constexpr const char* beginnings[] = {"VM Thread", "GC Thread", "G1 ", "ZWorker",
                                          "ZDriver",   "ZDirector", "ZUn", "Shenandoah",
                                          "C1 Comp",   "C2 Comp"};
    char name[prim::thread_name_size];
    prim::read_thread_name(name);
    for (const char* const beginning : beginnings) {
        if (starts_with(name, beginning)) {
            return true;
        }
    }
    return false;
}

criticality once(state& s) noexcept {
    asking::is_refused_once();
    return the_refused_once.level(s.books().tree().at(owner_id::root));
}

criticality of_block(state& s, runtime_kind runtime, byte_count size) noexcept {
    if (runtime == runtime_kind::coreclr && size >= survivable_of_coreclr && !is_applications(s)) {
        return once(s);
    }
    if (size >= large) {
        return runtime == runtime_kind::jvm && is_thread_of_hotspot() ? criticality::process
                                                                      : criticality::task;
    }
    switch (runtime) {
    case runtime_kind::other: return criticality::process;
    case runtime_kind::cpython: return criticality::domain;
    default: break;
    }
    // HotSpot's arenas ended it at 75,056 bytes, V8's tables at 96 KiB: no size below tells a buffer.
    return is_applications(s) ? criticality::domain : criticality::process;
}

criticality of_pages(state& s, runtime_kind runtime, byte_count size) noexcept {
    switch (runtime) {
    case runtime_kind::other: return by_size(size, criticality::process);
    case runtime_kind::cpython:
        return size >= arena_of_cpython ? criticality::task : criticality::domain;
    default: break;
    }
    if (is_applications(s)) {
        return by_size(size, criticality::domain);
    }
    // SGen asks for sections of its heap in whole pages; for what it works with while it collects
    // (pin queues, mark stacks) by the byte, and does not survive a refusal there.
    if (runtime == runtime_kind::mono && is_aligned(size, page_size)) {
        return by_size(size, criticality::process);
    }
    return criticality::process;
}

} // namespace

purpose purpose_of(state& s, int prot) noexcept {
    const std::uint32_t runtime = s.image().runtime.load(std::memory_order_relaxed);
    return (prot & PROT_EXEC) != 0                                      ? purpose::code
           : runtime == static_cast<std::uint32_t>(runtime_kind::other) ? purpose::mapping
                                                                        : purpose::gc_heap;
}

criticality level_for(state& s, purpose what_for, byte_count size) noexcept {
    asking::is_for(what_for);
    if (!s.books().tree().at(owner_id::root).is_limited() && !s.is_embedded()) {
        return criticality::task; // they are all alike
    }
    const auto runtime =
        static_cast<runtime_kind>(s.image().runtime.load(std::memory_order_relaxed));
    switch (what_for) {
    case purpose::malloc: return of_block(s, runtime, size);
    case purpose::gc_heap:
    case purpose::mapping: return of_pages(s, runtime, size);
    case purpose::stack:
        // A program survives a thread it does not get; what a runtime needs for itself beside that
        // thread it does not survive. Refused at the limit itself, Mono aborted in 5 runs of 5; with
        // the reserve left to it, it threw an exception in 6 of 6. But CoreCLR starts threads of its
        // own, and one that was refused while another refusal was being handled ended it (8 of 67).
        return the_refused_once.is_being_handled(s.books().tree().at(owner_id::root))
                   ? criticality::process
                   : criticality::task;
    // ZGC lowers its heap when a commit of its file fails.
    case purpose::file: return by_size(size, criticality::process);
    case purpose::code:
        if (runtime == runtime_kind::coreclr && size >= survivable_of_coreclr) {
            return once(s);
        }
        return runtime == runtime_kind::other || runtime == runtime_kind::cpython
                   ? by_size(size, criticality::process)
                   : criticality::process;
    case purpose::metadata: break;
    }
    return criticality::process;
}

} // namespace memreeve::bridge
