// SPDX-License-Identifier: MIT
// The one table from refusals to mrv_status.
#pragma once

#include "base/error.hpp"

#include <memreeve/memreeve.h>

namespace memreeve::capi {

mrv_status to_status(errc code) noexcept;
inline mrv_status to_status(failure f) noexcept { return to_status(f.code); }

} // namespace memreeve::capi
