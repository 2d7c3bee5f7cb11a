// SPDX-License-Identifier: MIT
// The two ways find_mapping takes; for its tests, and for telling which one it is.
#pragma once

#include "prim/prim.hpp"

namespace memreeve::prim {

// True: as on a kernel without PROCMAP_QUERY. Process-wide.
void use_maps_text_only(bool on) noexcept;
// Does the kernel have PROCMAP_QUERY? 0 or an errno value.
int try_mapping_query() noexcept;

} // namespace memreeve::prim
