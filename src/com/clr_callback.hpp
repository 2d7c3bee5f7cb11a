// SPDX-License-Identifier: MIT
// Calls the runtime's callback. Runs on the notifier's thread with no lock held, never inside a
// request; the callback may call us back, may fail, may be slow, may end its own registration, may
// drop the last reference but ours. A C++ exception that leaves it cannot be caught here (this code
// is built without exceptions): it meets `noexcept` and ends the process.
#pragma once

#include "manager/notifier.hpp"

#include <memreeve/host_interfaces.h>

namespace memreeve::com {

// Availability and EMemoryAvailable run the same way, from 0 and from 1; this is the one place
// where they meet.
constexpr EMemoryAvailable to_memory_available(pressure::availability level) noexcept {
    switch (level) {
    case pressure::availability::low: return eMemoryAvailableLow;
    case pressure::availability::neutral: return eMemoryAvailableNeutral;
    case pressure::availability::high: break;
    }
    return eMemoryAvailableHigh;
}

// A manager::notifier::deliver; `context` is the ICLRMemoryNotificationCallback.
inline bool tell_clr(void* context, const manager::notice& n) noexcept {
    auto* const callback = static_cast<ICLRMemoryNotificationCallback*>(context);
    callback->AddRef();
    const HRESULT answer = callback->OnMemoryNotification(to_memory_available(n.level));
    callback->Release();
    return answer != HOST_E_CLRNOTAVAILABLE; // D19: then nobody is left to tell
}

} // namespace memreeve::com
