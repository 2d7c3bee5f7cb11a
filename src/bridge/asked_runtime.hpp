// SPDX-License-Identifier: MIT
// The runtime of this process, asked to collect: the adapters of include/memreeve/adapters/, chosen by
// what the runtime is. A local variable of the one thread that asks (early_collection.hpp) and holds no lock.
#pragma once

#include "bridge/dotnet_diagnostics.hpp"
#include "telemetry/image_record.hpp"

#include <memreeve/adapters/cpython.h>
#include <memreeve/adapters/jvm.h>
#include <memreeve/adapters/mono.h>
#include <memreeve/adapters/node.h>

#include <atomic>
#include <cstdint>

namespace memreeve::bridge {

// V8 is asked through its isolate, which only the isolate's thread can tell: note() is called where the
// main thread makes another one, in the middle of nothing, until an isolate is known. When Node ends it
// takes down what serves the isolate, and aborts where that is asked for something then. Before that it
// calls us, and by process.exit(), where it calls nobody, the main thread waits for V8's threads: forget()
// is called where it waits for any. Both return when nobody asks any more; who starts another thread after
// a forget() notes it again. An isolate whose end is not told is never noted.
class main_isolate {
public:
    constexpr main_isolate() noexcept = default;
    void note() noexcept;
    void forget() noexcept;
    // In a child of fork nobody is there who held it.
    void settle_after_fork() noexcept { release(); }
    // For the one thread that asks: stays what it is until release(). Null: not known.
    void* hold() noexcept {
        is_held_.store(true, std::memory_order_seq_cst);
        return isolate_.load(std::memory_order_seq_cst);
    }
    void release() noexcept { is_held_.store(false, std::memory_order_release); }

private:
    static void ended(void* self) noexcept;
    void wait_until_nobody_asks() noexcept;

    std::atomic<void*> isolate_{nullptr};
    std::atomic<bool> is_held_{false};
    bool has_v8_ = true;
    bool is_told_of_end_ = false;
    mrv_node node_{}; // the main thread's
};

class asked_runtime {
public:
    // collected: it is over. asked: it, or what it frees, comes by and by. not_now: the runtime has not begun, or is busy with the last time.
    // never: there is nothing here that could be asked.
    enum class answer : unsigned char { collected, asked, not_now, never };
    // Counted up, and woken, as soon as a runtime knows that it is asked: what the program's thread that
    // rang gives way for. Before anything else.
    void tells(std::atomic<std::uint32_t>& underway) noexcept { underway_ = &underway; }
    void is_underway() noexcept;
    // Makes ready what the first time begins with, where that takes long. False: too early, ask again.
    bool prepare(telemetry::runtime_kind kind) noexcept;
    answer collect(telemetry::runtime_kind kind, main_isolate& isolate) noexcept;
    // What the last collection freed inside the runtime's heap, which may keep it for itself; 0: not known.
    byte_count freed_inside() const noexcept {
        return mono_.freed > 0 ? static_cast<byte_count>(mono_.freed) : 0;
    }
    // The runtime is ending and waits for this thread: it is left, nothing is asked any more.
    bool leave_if_ending() noexcept;

private:
    bool attach_to_mono() noexcept;
    bool find_cpython() noexcept;
    answer collect_mono() noexcept;
    answer collect_jvm() noexcept;
    answer collect_cpython() noexcept;
    answer collect_node(main_isolate& isolate) noexcept;
    answer collect_coreclr() noexcept;
    bool is_found(int found) noexcept;

    // Not of the thread's stack: Python calls it when it comes to it, in a child of fork too, where that
    // thread is not any more.
    static mrv_cpython cpython_;

    std::atomic<std::uint32_t>* underway_ = nullptr;
    bool has_looked_ = false;
    bool is_there_ = false;
    bool is_attached_ = false;
    mrv_mono mono_{};
    mrv_jvm jvm_{};
    mrv_node node_{};
    dotnet_diagnostics coreclr_{};
    std::uint64_t met_at_ = 0; // Mono, when it could have been attached to for the first time
    unsigned fruitless_ = 0;   // times in a row
};

} // namespace memreeve::bridge
