// SPDX-License-Identifier: MIT
#include "capi/status.hpp"

namespace memreeve::capi {

// No default: a new errc does not compile until it has a status.
mrv_status to_status(errc code) noexcept {
    switch (code) {
    case errc::invalid_argument: return MRV_E_INVALID_ARGUMENT;
    case errc::invalid_address: return MRV_E_INVALID_ADDRESS;
    case errc::bad_length: return MRV_E_INVALID_ARGUMENT;
    case errc::no_access: return MRV_E_NULL_POINTER;
    case errc::null_pointer: return MRV_E_NULL_POINTER;
    case errc::not_ours: return MRV_E_NOT_OURS;
    case errc::out_of_address_space: return MRV_E_OUT_OF_MEMORY;
    case errc::over_budget: return MRV_E_OVER_BUDGET;
    case errc::privilege_not_held: return MRV_E_PRIVILEGE_NOT_HELD;
    case errc::not_supported: return MRV_E_NOT_SUPPORTED;
    case errc::busy: return MRV_E_BUSY;
    case errc::forbidden: return MRV_E_FORBIDDEN;
    case errc::no_interface: return MRV_E_NO_INTERFACE;
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
    default: return "unknown status";
    }
}
