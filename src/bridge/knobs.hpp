// SPDX-License-Identifier: MIT
// What memreeve sets for a runtime so that it lives better under the limit: variables put into this
// process's environment before main, so that wrappers and children are covered like the command
// itself. What the user has set wins.
//
//   Mono     MONO_GC_PARAMS=nursery-size=1m, under a tight limit only (decision 28)
//   CoreCLR  DOTNET_GCHeapHardLimit=0x..., the limit less what is not GC heap (decision 29)
#pragma once

#include "base/units.hpp"

namespace memreeve::bridge {

class state;

// The GC heap's share of a limit, in bytes; 0 where CoreCLR would not start with it.
byte_count coreclr_heap_limit(byte_count limit) noexcept;
// The smallest limit CoreCLR was seen to start and to say hello with, with some room.
inline constexpr byte_count smallest_coreclr_limit = byte_count{24} << 20;

// Once, by the library's constructor, before main and before other threads. Records in the image's
// record what was set. Where the limit is too small for CoreCLR, says so and ends the process with
// 125, or lets it try under --best-effort.
void turn_knobs(state& s, int argument_count, char* const* arguments) noexcept;

// Did turn_knobs() put this "NAME=value" into the environment?
bool is_setting(const char* definition) noexcept;

} // namespace memreeve::bridge
