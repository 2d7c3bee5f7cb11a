// SPDX-License-Identifier: MIT
#include "com/hresult.hpp"

namespace memreeve::com {

// No default: a new errc does not compile until it has a code. E_FAIL is never one of them; its
// documented meaning is that the runtime is unusable from then on.
HRESULT to_hresult(errc code) noexcept {
    switch (code) {
    case errc::invalid_argument: return E_INVALIDARG;
    case errc::invalid_address: return MRV_HRESULT_INVALID_ADDRESS;
    case errc::bad_length: return MRV_HRESULT_BAD_LENGTH;
    case errc::no_access: return MRV_HRESULT_NOACCESS;
    case errc::null_pointer: return E_POINTER;
    case errc::not_ours: return HOST_E_INVALIDOPERATION;
    case errc::out_of_address_space: return E_OUTOFMEMORY;
    case errc::over_budget: return E_OUTOFMEMORY;
    case errc::privilege_not_held: return MRV_HRESULT_PRIVILEGE_NOT_HELD;
    case errc::not_supported: return MRV_HRESULT_NOT_SUPPORTED;
    case errc::busy: return MRV_HRESULT_INVALID_ADDRESS;
    case errc::forbidden: return E_OUTOFMEMORY;
    case errc::no_interface: return E_NOINTERFACE;
    case errc::over_quota: return MRV_HRESULT_WORKING_SET_QUOTA;
    case errc::not_locked: return MRV_HRESULT_NOT_LOCKED;
    }
    return E_UNEXPECTED; // no such errc
}

} // namespace memreeve::com
