// SPDX-License-Identifier: MIT
#pragma once

#include "base/units.hpp"

#include <cstdint>

namespace memreeve::manager {

// VirtualQuery's answer, field for field (48 bytes at the edge). Values are Win32's.
struct region_info {
    address base = 0;            // page of the address asked (Q4)
    address allocation_base = 0; // 0 when free
    std::uint32_t allocation_protect = 0;
    byte_count size = 0;     // from base on
    std::uint32_t state = 0; // MEM_COMMIT, MEM_RESERVE, MEM_FREE
    std::uint32_t protect = 0;
    std::uint32_t type = 0; // MEM_PRIVATE, MEM_MAPPED, MEM_IMAGE, 0
};

} // namespace memreeve::manager
