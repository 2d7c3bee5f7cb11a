// SPDX-License-Identifier: MIT
// In which order requests are refused: the critical level of a request from what it is for, who makes
// it, and its size. Refused first is what programs survive (eTaskCritical), last what ends them
// (eProcessCritical, which may use the reserve). docs/bridge.md has the table and the evidence.
//
// Needs nothing but loads; the caller's library is looked up where it matters (callers.hpp), and not at
// all without a limit. Async-signal-safe.
#pragma once

#include "base/units.hpp"
#include "bridge/state.hpp"
#include "telemetry/last_words.hpp"

#include <memreeve/host_interfaces.h>

namespace memreeve::bridge {

// Of anonymous memory that becomes accessible so (PROT_*).
telemetry::purpose purpose_of(state& s, int prot) noexcept;

// `size` as the program gave it, not rounded. Tells asking::now() what it is for.
criticality level_for(state& s, telemetry::purpose what_for, byte_count size) noexcept;

constexpr EMemoryCriticalLevel encode(criticality level) noexcept {
    return level == criticality::task     ? eTaskCritical
           : level == criticality::domain ? eAppDomainCritical
                                          : eProcessCritical;
}

} // namespace memreeve::bridge
