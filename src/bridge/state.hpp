// SPDX-License-Identifier: MIT
// How a foreign program comes to live inside memreeve: attached to the launcher's ledger at the
// first call that reaches us, or at the library's constructor, whichever is first.
//
// Start-up needs no malloc, no lock, no dlsym: raw system calls and static storage. A process that
// is privileged (AT_SECURE), was not started by `memreeve run`, or may not attach, passes its calls
// on untouched.
//
// fork: the page behind `alive` is wiped in a child that has its own memory and untouched in one
// that shares it (vfork), so the first call in a child finds out by one load (decisions 15, 19).
//
// A host that has the bridge linked in (embed.hpp) gives it its own manager instead: there is no
// ledger to attach to, and everything is charged to the calling thread's owner.
#pragma once

#include "bridge/deferred.hpp"
#include "com/host_malloc.hpp"
#include "com/host_memory_manager.hpp"
#include "manager/ledger.hpp"
#include "manager/ledger_name.hpp"
#include "manager/manager.hpp"
#include "manager/record_pool.hpp"
#include "telemetry/image_record.hpp"

namespace memreeve::bridge {

// Null: this process is not governed, pass the call on. Otherwise everything is ready, in a child of
// fork too. Async-signal-safe.
class state;
inline state* governed() noexcept;
inline state* holding() noexcept;

class state {
public:
    constexpr state() noexcept = default;

    manager::manager& memory() noexcept { return *memory_; }
    manager::ledger& books() noexcept { return memory_->books(); }
    telemetry::image_record& image() noexcept { return memory_->image(); }
    // The interface the program's calls become requests to, one object for each owner.
    com::host_memory_manager& host(telemetry::owner_kind kind) noexcept {
        return *reinterpret_cast<com::host_memory_manager*>(hosts_[static_cast<unsigned>(kind)]);
    }
    // Who pays now: the owner of that kind, in an embedding host the calling thread's.
    owner_id owner(telemetry::owner_kind kind) noexcept { return host(kind).owner(); }
    // The heap behind the malloc family.
    com::host_malloc& heap() noexcept { return *heap_; }
    bool is_embedded() const noexcept { return memory_ != &own_; }
    deferred_frees& deferred() noexcept { return deferred_; }
    // --no-children is in force: what this process starts is left alone, its own exec is not.
    bool leaves_children_alone() noexcept {
        return (!is_embedded() && ledger_.is_open() && !left_alone_ &&
                (ledger_.header().flags.load(std::memory_order_relaxed) &
                 manager::flag_no_children) != 0);
    }
    // This process is such a child.
    bool is_left_alone() const noexcept { return left_alone_; }
    // The program is a JDK's launcher (bridge/runtime_kind.hpp).
    bool is_java_launcher() const noexcept { return is_java_launcher_; }
    bool takes_semi_space() const noexcept { return takes_semi_space_; }
    // True in a child that shares its parent's memory: it writes no state of its own.
    bool shares_memory() noexcept;

    // Before fork, and after it in the parent: the record is kept until the child has read it. On the
    // thread that forks.
    void announce_fork() noexcept;
    void after_fork_in_parent() noexcept;

    // Embedding: from now on the process's calls are requests to `memory`, charged to `who` where
    // the calling thread has no owner of its own. Once, with no other thread in the bridge.
    // Errors: busy (governed already), the system's.
    result<void> adopt(manager::manager& memory, owner_id who) noexcept;
    // What adopt() began ends: new requests are passed on again; governed() is null, holding() is
    // not: memory given out stays the host's.
    void abandon() noexcept;
    // Takes up again what abandon() left. False: there is nothing to take up.
    bool take_up() noexcept;

private:
    friend state* governed() noexcept;
    friend state* holding() noexcept;
    enum class phase : std::uint32_t { untouched, starting, ready, passing, abandoned };

    bool change_phase(phase from, phase to) noexcept {
        auto expected = static_cast<std::uint32_t>(from);
        return phase_.compare_exchange_strong(expected, static_cast<std::uint32_t>(to),
                                              std::memory_order_acq_rel);
    }

    bool is_settled() const noexcept {
        return static_cast<phase>(phase_.load(std::memory_order_acquire)) == phase::ready &&
               alive_->load(std::memory_order_acquire) == 1;
    }
    state* settle() noexcept;
    void start() noexcept;
    bool attach() noexcept;
    int open_ledger(const manager::ledger_name& name) noexcept;
    void settle_child() noexcept;
    result<void> watch_forks() noexcept;
    void make_hosts() noexcept;
    result<void> make_heap() noexcept;
    void describe(telemetry::image_record& image) noexcept;
    void record_loader() noexcept;

    std::atomic<std::uint32_t> phase_{0};
    std::atomic<std::uint32_t>* alive_ = nullptr; // 1 ready, 0 wiped by fork, 2 being settled
    manager::ledger ledger_{};
    manager::manager own_{};
    manager::manager* memory_ = &own_;
    owner_id embedders_ = owner_id::none;
    manager::record_pool records_{}; // of one record: the heap's
    manager::record_pool::storage heap_record_{};
    bool has_lent_record_ = false;
    com::host_malloc* heap_ = nullptr;
    deferred_frees deferred_{};
    bool is_java_launcher_ = false;
    bool takes_semi_space_ = false;
    bool left_alone_ = false; // a child under --no-children: its own books, no limit, not listed
    alignas(com::host_memory_manager) unsigned char hosts_[telemetry::owner_kind_count]
                                                          [sizeof(com::host_memory_manager)]{};
};

extern constinit state the_state;

inline state* governed() noexcept {
    return the_state.is_settled() ? &the_state : the_state.settle();
}

// The same for calls about memory that may have been given out before an abandon().
inline state* holding() noexcept {
    state* s = governed();
    if (s == nullptr && the_state.phase_.load(std::memory_order_acquire) ==
                            static_cast<std::uint32_t>(state::phase::abandoned)) {
        s = &the_state;
    }
    return s;
}

} // namespace memreeve::bridge
