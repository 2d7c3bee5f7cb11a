// SPDX-License-Identifier: MIT
// What the opaque handles are. All of them lie in records of their host's pool.
//
// An owner's record is used by: its handle, its memory manager object, every owner below it, every
// subscription to it. When the last of them is gone it is `closing`; the account is closed, and the
// record free for the next owner, as soon as no memory depends on it. That is looked at again
// whenever an owner is made or given back. Records stay in the host's list for ever.
#pragma once

#include "com/host_memory_manager.hpp"
#include "manager/host.hpp"

#include <memreeve/memreeve.h>

#include <atomic>
#include <cstdint>

struct mrv_owner {
    enum state : std::uint32_t { vacant = 0, claimed, live, closing };

    mrv_host* host = nullptr;
    mrv_owner* next = nullptr;   // in the host's list
    mrv_owner* parent = nullptr; // null: the host itself
    memreeve::owner_id id = memreeve::owner_id::none;
    std::atomic<std::uint32_t> state_word{claimed};
    std::atomic<std::uint32_t> users{0};
    std::atomic<bool> has_handle{false};
    // Made at the first request for it; our own reference goes when the handle does.
    std::atomic<memreeve::com::host_memory_manager*> manager{nullptr};
};

struct mrv_host {
    memreeve::manager::host* core = nullptr;
    std::atomic<mrv_owner*> owners{nullptr}; // newest; a list that only grows
};

struct mrv_subscription {
    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr; // null: the host's own
    mrv_pressure_fn function = nullptr;
    void* context = nullptr;
    memreeve::manager::subscription_id id{};
    bool is_watch = false; // of edges, told within requests
    std::uint32_t watch = 0;
};

namespace memreeve::capi {

result<mrv_host*> create_host(const manager::host::settings& s) noexcept;
result<void> destroy_host(mrv_host& h) noexcept;
// Calls `visit` for every host of the process until it answers true. Async-signal-safe.
bool any_host(bool (*visit)(mrv_host& h, std::uintptr_t argument) noexcept,
              std::uintptr_t argument) noexcept;

result<mrv_owner*> create_owner(mrv_host& h, mrv_owner* parent, const char* name,
                                const budget::tree::limits& l) noexcept;
void destroy_owner(mrv_owner& o) noexcept;
void use(mrv_owner& o) noexcept;
void leave(mrv_owner& o) noexcept;

// The owner's memory manager, not counted: the handle's own reference keeps it.
result<com::host_memory_manager*> manager_of(mrv_owner& o) noexcept;

result<mrv_subscription*> subscribe(mrv_host& h, mrv_owner* o, mrv_pressure_fn function,
                                    void* context) noexcept;
result<mrv_subscription*> watch(mrv_host& h, mrv_owner* o, mrv_pressure_fn function,
                                void* context) noexcept;
void unsubscribe(mrv_subscription& s) noexcept;

} // namespace memreeve::capi
