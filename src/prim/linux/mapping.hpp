// SPDX-License-Identifier: MIT
// The two ways find_mapping takes; for its tests.
#pragma once

#include "prim/prim.hpp"

namespace memreeve::prim {

// True: as on a kernel without PROCMAP_QUERY. Process-wide.
void use_maps_text_only(bool on) noexcept;

} // namespace memreeve::prim
