// SPDX-License-Identifier: MIT
// The C interface of embedding: joins the handles of the C interface to the bridge. The libc names
// themselves (src/bridge/preload) are linked into the same object (CMakeLists.txt), so that whoever
// calls one of these two functions has them all.
#include "bridge/state.hpp"
#include "capi/handles.hpp"
#include "capi/status.hpp"
#include "manager/thread_owner.hpp"
#include "prim/process_view.hpp"

#include <memreeve/embed.h>

#include <atomic>
#include <cerrno>

using namespace memreeve;

namespace {

// Who governs this process, for ever: its memory is in use until the process ends.
constinit std::atomic<mrv_owner*> governing{nullptr};

mrv_status begin(mrv_host& host, mrv_owner& owner) noexcept {
    // A reference that is never given back: neither the host nor the owner's account can go.
    const auto manager = capi::manager_of(owner);
    if (!manager) {
        return capi::to_status(manager.error());
    }
    manager::manager& memory = host.core->memory();
    // The heap is the owner's, whoever is pushed on this thread.
    if (const auto pushed = manager::push_thread_owner(memory, owner.id); !pushed) {
        return capi::to_status(pushed.error());
    }
    const auto done = bridge::the_state.adopt(memory, owner.id);
    static_cast<void>(manager::pop_thread_owner());
    if (!done) {
        return capi::to_status(done.error());
    }
    (*manager)->AddRef();
    return MRV_OK;
}

} // namespace

extern "C" {

// Tells this copy of the bridge from the preload library's (bridge/state.cpp).
extern __attribute__((visibility("hidden"))) const char memreeve_is_host;
const char memreeve_is_host = 1;

// What syscall(SYS_execve) of a library becomes: in a host nothing is to be done before it goes.
__attribute__((visibility("hidden"))) int memreeve_execve(const char* path, char* const arguments[],
                                                          char* const environment[]) noexcept {
    errno = static_cast<int>(-prim::pass_execve(path, arguments, environment));
    return -1;
}

mrv_status mrv_host_govern_process(mrv_host* host, mrv_owner* owner) noexcept {
    if (host == nullptr || owner == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    if (owner->host != host) {
        return MRV_E_INVALID_ARGUMENT;
    }
    mrv_owner* nobody = nullptr;
    if (!governing.compare_exchange_strong(nobody, owner, std::memory_order_acq_rel)) {
        return nobody == owner && bridge::the_state.take_up() ? MRV_OK : MRV_E_BUSY;
    }
    const mrv_status status = begin(*host, *owner);
    if (status != MRV_OK) {
        governing.store(nullptr, std::memory_order_release);
    }
    return status;
}

mrv_status mrv_host_release_process(mrv_host* host) noexcept {
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    mrv_owner* const owner = governing.load(std::memory_order_acquire);
    if (owner == nullptr || owner->host != host) {
        return MRV_E_INVALID_ARGUMENT;
    }
    bridge::the_state.abandon();
    return MRV_OK;
}

} // extern "C"
