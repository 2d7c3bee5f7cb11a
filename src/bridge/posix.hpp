// SPDX-License-Identifier: MIT
// PROT_* and the interface's results, translated. The numbers are Linux's ABI.
#pragma once

#include "base/units.hpp"
#include "com/hresult.hpp"

#include <memreeve/host_interfaces.h>

#include <cerrno>
#include <cstdint>
#include <sys/mman.h>

namespace memreeve::bridge {

inline constexpr int known_prot = PROT_READ | PROT_WRITE | PROT_EXEC;

// PAGE_* for PROT_* on x86-64, where writable and executable imply readable.
constexpr DWORD page_of(int prot) noexcept {
    const bool write = (prot & PROT_WRITE) != 0;
    const bool execute = (prot & PROT_EXEC) != 0;
    if (execute) {
        return write                     ? PAGE_EXECUTE_READWRITE
               : (prot & PROT_READ) != 0 ? PAGE_EXECUTE_READ
                                         : PAGE_EXECUTE;
    }
    return write ? PAGE_READWRITE : (prot & PROT_READ) != 0 ? PAGE_READONLY : PAGE_NOACCESS;
}

} // namespace memreeve::bridge
