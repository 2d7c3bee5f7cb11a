// SPDX-License-Identifier: MIT
// The C interface: the calls of Win32 that the hosting interface has no method for.
#include "capi/handles.hpp"
#include "capi/status.hpp"
#include "com/critical_level.hpp"
#include "manager/thread_owner.hpp"

#include <memreeve/memreeve.h>

using namespace memreeve;
using capi::to_status;

namespace {

mrv_status status_of(const result<void>& r) noexcept { return r ? MRV_OK : to_status(r.error()); }

address address_of(const void* p) noexcept { return reinterpret_cast<address>(p); }

} // namespace

extern "C" {

// ---- write watch (WW) ------------------------------------------------------------------------------

mrv_status mrv_get_write_watch(mrv_host* host, uint32_t flags, void* base, size_t region_size,
                               void** addresses, size_t* count, uint32_t* granularity) noexcept {
    if (host == nullptr || count == nullptr || granularity == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    if ((flags & ~uint32_t{MRV_WRITE_WATCH_FLAG_RESET}) != 0 || region_size == 0 || *count == 0) {
        return MRV_E_INVALID_ARGUMENT; // WW1
    }
    if (addresses == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    const auto told = host->core->memory().written_pages(address_of(base), region_size, flags != 0,
                                                         addresses, *count);
    if (!told) {
        return to_status(told.error());
    }
    *count = *told;
    *granularity = page_size;
    return MRV_OK;
}

mrv_status mrv_reset_write_watch(mrv_host* host, void* base, size_t region_size) noexcept {
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    // WW9
    return status_of(host->core->memory().reset_written_pages(address_of(base), region_size));
}

// ---- placeholders (PH) -----------------------------------------------------------------------------

mrv_status mrv_virtual_alloc2(mrv_owner* owner, void* base, size_t size, uint32_t type,
                              uint32_t protect, uint32_t level, void** out) noexcept {
    if (out == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    *out = nullptr;
    if (owner == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    manager::manager& memory = owner->host->core->memory();
    const auto decoded = com::decode_level(static_cast<EMemoryCriticalLevel>(level),
                                           memory.settings().strict_levels);
    if (!decoded) {
        return to_status(decoded.error());
    }
    const auto got = memory.virtual_alloc2(manager::thread_owner(memory, owner->id),
                                           address_of(base), size, type, protect, *decoded);
    if (!got) {
        return to_status(got.error());
    }
    *out = reinterpret_cast<void*>(*got);
    return MRV_OK;
}

mrv_status mrv_virtual_free2(mrv_host* host, void* base, size_t size, uint32_t type) noexcept {
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    return status_of(host->core->memory().virtual_free(address_of(base), size, type));
}

// ---- locked pages (L) ------------------------------------------------------------------------------

mrv_status mrv_virtual_lock(mrv_host* host, void* base, size_t size) noexcept {
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    return status_of(host->core->memory().virtual_lock(address_of(base), size));
}

mrv_status mrv_virtual_unlock(mrv_host* host, void* base, size_t size) noexcept {
    if (host == nullptr) {
        return MRV_E_NULL_POINTER;
    }
    return status_of(host->core->memory().virtual_unlock(address_of(base), size));
}

} // extern "C"
