// SPDX-License-Identifier: MIT
// Every way a request may be refused. One enumerator, one sentence; the edges translate them
// (com/hresult.cpp) and nothing else does. `os_code` is the errno behind an environment failure,
// 0 when the refusal is memreeve's own.
#pragma once

namespace memreeve {

enum class errc : unsigned char {
    invalid_argument, // a flag, protection or size that no state of memory could make valid (Win32 87)
    invalid_address,      // the address or range does not fit the state of memory there (Win32 487)
    bad_length,           // a buffer shorter than what must be written into it (Win32 24)
    no_access,            // an output pointer or a page that cannot be used (Win32 998)
    null_pointer,         // a null out pointer at the interface (decision 5)
    not_ours,             // the memory was not obtained through this host (decision 6)
    out_of_address_space, // no free range of that size, or the system refused to map (Win32 8)
    over_budget,          // a limit of the owner tree refuses at this critical level (Win32 1455)
    privilege_not_held,   // large or physical pages without the right to them (Win32 1314)
    not_supported,        // a documented difference: this system cannot do it (Win32 50)
    busy,         // another request holds the same pages: a race in the caller (decision 18)
    forbidden,    // policy forbids it: writable and executable at once (decision 10)
    no_interface, // the object does not implement that interface
    over_quota,   // the system locks no more pages for this process (Win32 1453)
    not_locked,   // a page that is not locked in memory (Win32 158)
};

struct failure {
    errc code{};
    int os_code = 0;

    constexpr bool operator==(const failure&) const = default;
};

// A sentence fragment for messages: "what is wrong", lower case, no full stop.
constexpr const char* text(errc code) noexcept {
    switch (code) {
    case errc::invalid_argument: return "invalid argument";
    case errc::invalid_address: return "the address does not fit the state of memory there";
    case errc::bad_length: return "the buffer is too short";
    case errc::no_access: return "a pointer or page that cannot be accessed";
    case errc::null_pointer: return "the output pointer is null";
    case errc::not_ours: return "the memory was not obtained through this host";
    case errc::out_of_address_space: return "no address space of that size is free";
    case errc::over_budget: return "the budget refuses";
    case errc::privilege_not_held: return "a privilege is missing";
    case errc::not_supported: return "not supported on this system";
    case errc::busy: return "another request is changing the same pages";
    case errc::forbidden: return "memory that is writable and executable is forbidden here";
    case errc::no_interface: return "no such interface";
    case errc::over_quota: return "no more pages may be locked in memory";
    case errc::not_locked: return "a page is not locked in memory";
    }
    return "unknown";
}

} // namespace memreeve
