// SPDX-License-Identifier: MIT
// EMemoryCriticalLevel, decoded once (decision 3, D14).
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"

#include <memreeve/host_interfaces.h>

namespace memreeve::com {

// A value that is no level: invalid_argument when `strict`, else as eProcessCritical.
constexpr result<criticality> decode_level(EMemoryCriticalLevel level, bool strict) noexcept {
    switch (static_cast<unsigned>(level)) {
    case eTaskCritical: return criticality::task;
    case eAppDomainCritical: return criticality::domain;
    case eProcessCritical: return criticality::process;
    default: break;
    }
    if (strict) {
        return errc::invalid_argument;
    }
    return criticality::process;
}

} // namespace memreeve::com
