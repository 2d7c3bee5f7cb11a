// SPDX-License-Identifier: MIT
// The one table from refusals to HRESULTs (decisions 5, 6; D3).
#pragma once

#include "base/error.hpp"
#include "base/result.hpp"

#include <memreeve/abi/types.h>

namespace memreeve::com {

HRESULT to_hresult(errc code) noexcept;
inline HRESULT to_hresult(failure f) noexcept { return to_hresult(f.code); }

} // namespace memreeve::com
