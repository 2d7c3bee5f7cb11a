// SPDX-License-Identifier: MIT
// Memory of the process that is not ours: what VirtualQuery says of it and how VirtualProtect
// changes it (decisions 15, 16). The kernel is asked each time; nothing is remembered.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "manager/region_info.hpp"
#include "vm/address_space.hpp"

#include <cstdint>

namespace memreeve::manager {

// A page that lies in no reservation of ours: free, or somebody else's. A region never runs across a
// reservation of ours; inside our arenas what is not reserved is free.
result<region_info> query_outside(vm::address_space& space, address page) noexcept;

// All pages must be mapped and none ours (invalid_address). A guard: not_supported. On failure every
// page has its old access again. Returns the old protection of the first page.
result<std::uint32_t> protect_outside(vm::address_space& space, range span,
                                      const vm::protection& wanted) noexcept;

} // namespace memreeve::manager
