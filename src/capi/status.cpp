// SPDX-License-Identifier: MIT
#include "capi/status.hpp"

namespace memreeve::capi {

// No default: a new errc does not compile until it has a status.
mrv_status to_status(errc code) noexcept {
    switch (code) {
    case errc::invalid_argument: return MRV_E_INVALID_ARGUMENT;
    case errc::invalid_address: return MRV_E_INVALID_ADDRESS;
    case errc::bad_length: return MRV_E_INVALID_ARGUMENT;
    case errc::no_access: return MRV_E_NO_ACCESS;
    case errc::null_pointer: return MRV_E_NULL_POINTER;
    case errc::not_ours: return MRV_E_NOT_OURS;
    case errc::out_of_address_space: return MRV_E_OUT_OF_MEMORY;
    case errc::over_budget: return MRV_E_OVER_BUDGET;
    case errc::privilege_not_held: return MRV_E_PRIVILEGE_NOT_HELD;
    case errc::not_supported: return MRV_E_NOT_SUPPORTED;
    case errc::busy: return MRV_E_BUSY;
    case errc::forbidden: return MRV_E_FORBIDDEN;
    case errc::no_interface: return MRV_E_NO_INTERFACE;
    case errc::over_quota: return MRV_E_OVER_QUOTA;
    case errc::not_locked: return MRV_E_NOT_LOCKED;
    }
    return MRV_E_INVALID_ARGUMENT; // no such errc
}

} // namespace memreeve::capi

extern "C" const char* mrv_status_text(mrv_status status) noexcept {
    switch (status) {
    case MRV_OK: return "success";
    case MRV_E_INVALID_ARGUMENT: return "invalid argument";
    case MRV_E_INVALID_ADDRESS: return "the address does not fit the state of memory there";
    case MRV_E_NULL_POINTER: return "a pointer that is needed is null";
    case MRV_E_NOT_OURS: return "the memory was not obtained through this host";
    case MRV_E_OUT_OF_MEMORY: return "the system has no memory, address space or thread left";
    case MRV_E_OVER_BUDGET: return "a limit refuses";
    case MRV_E_PRIVILEGE_NOT_HELD: return "a privilege is missing";
    case MRV_E_NOT_SUPPORTED: return "not supported by this version or system";
    case MRV_E_BUSY: return "still in use";
    case MRV_E_FORBIDDEN: return "memory that is writable and executable is forbidden here";
    case MRV_E_NO_INTERFACE: return "no such interface";
    case MRV_E_NO_ACCESS: return "a page cannot be accessed";
    case MRV_E_OVER_QUOTA: return "no more pages may be locked in memory";
    case MRV_E_NOT_LOCKED: return "a page is not locked in memory";
    default: return "unknown status";
    }
}

extern "C" uint32_t mrv_win32_error(mrv_status status) noexcept {
    switch (status) {
    case MRV_OK: return 0;
    case MRV_E_INVALID_ARGUMENT: return 87;
    case MRV_E_INVALID_ADDRESS: return 487;
    case MRV_E_NULL_POINTER: return 998;
    case MRV_E_NOT_OURS: return 487;
    case MRV_E_OUT_OF_MEMORY: return 8;
    case MRV_E_OVER_BUDGET: return 1455;
    case MRV_E_PRIVILEGE_NOT_HELD: return 1314;
    case MRV_E_NOT_SUPPORTED: return 50;
    case MRV_E_BUSY: return 487; // as at the interface (decision 18)
    case MRV_E_FORBIDDEN: return 5;
    case MRV_E_NO_INTERFACE: return 50;
    case MRV_E_NO_ACCESS: return 998;
    case MRV_E_OVER_QUOTA: return 1453;
    case MRV_E_NOT_LOCKED: return 158;
    default: return 87;
    }
}
