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
#pragma once

#include "bridge/deferred.hpp"
#include "com/host_memory_manager.hpp"
#include "manager/ledger.hpp"
#include "manager/manager.hpp"
#include "telemetry/image_record.hpp"

namespace memreeve::bridge {

// Null: this process is not governed, pass the call on. Otherwise everything is ready, in a child of
// fork too. Async-signal-safe.
class state;
state* governed() noexcept;

class state {
public:
    constexpr state() noexcept = default;

    manager::manager& memory() noexcept { return manager_; }
    manager::ledger& books() noexcept { return ledger_; }
    telemetry::image_record& image() noexcept { return manager_.image(); }
    // The interface the program's calls become requests to, one object for each owner.
    IHostMemoryManager& host(telemetry::owner_kind kind) noexcept {
        return *reinterpret_cast<com::host_memory_manager*>(hosts_[static_cast<unsigned>(kind)]);
    }
    owner_id owner(telemetry::owner_kind kind) noexcept {
        return static_cast<owner_id>(
            image().owner_account[static_cast<unsigned>(kind)].load(std::memory_order_relaxed));
    }
    deferred_frees& deferred() noexcept { return deferred_; }
    // --no-children is in force: what this process starts is left alone, its own exec is not.
    bool leaves_children_alone() noexcept {
        return (ledger_.is_open() && !left_alone_ &&
                (ledger_.header().flags.load(std::memory_order_relaxed) &
                 manager::flag_no_children) != 0);
    }
    // True in a child that shares its parent's memory: it writes no state of its own.
    bool shares_memory() noexcept;

private:
    friend state* governed() noexcept;
    enum class phase : std::uint32_t { untouched, starting, ready, passing };

    void start() noexcept;
    bool attach() noexcept;
    int open_ledger(const char* path) noexcept;
    void settle_child() noexcept;
    void make_hosts() noexcept;
    void describe(telemetry::image_record& image) noexcept;
    void record_loader() noexcept;

    std::atomic<std::uint32_t> phase_{0};
    std::atomic<std::uint32_t>* alive_ = nullptr; // 1 ready, 0 wiped by fork, 2 being settled
    manager::ledger ledger_{};
    manager::manager manager_{};
    deferred_frees deferred_{};
    bool left_alone_ = false; // a child under --no-children: its own books, no limit, not listed
    alignas(com::host_memory_manager) unsigned char hosts_[telemetry::owner_kind_count]
                                                          [sizeof(com::host_memory_manager)]{};
};

} // namespace memreeve::bridge
