// SPDX-License-Identifier: MIT
// What memreeve sets for a runtime so that it lives better under the limit: variables put into this
// process's environment before main, so that wrappers and children are covered like the command
// itself. What the user has set wins.
//
//   Mono     MONO_GC_PARAMS=nursery-size=1m, under a tight limit only (decision 28)
//   CoreCLR  DOTNET_GCHeapHardLimit=0x..., the limit less what is not GC heap (decision 29);
//            DOTNET_GCRegionRange=0x... where the user's regions would not fit into that
//   JVM      JAVA_TOOL_OPTIONS=-Xms... -Xmx... and the sizes beside the heap (decision 30)
//   Node     NODE_OPTIONS=--max-old-space-size=... (decision 31)
//   CPython  nothing: its memory is malloc's and its arenas', both refused with MemoryError
//
// How much is in runtime_shares.hpp; the evidence in docs/runtimes.md.
#pragma once

#include "base/units.hpp"

namespace memreeve::bridge {

class state;

// Once, by the library's constructor, before main and before other threads. Records in the image's
// record what was set and what of the user's was left. Where the limit is too small for the runtime
// to start, says so and ends the process with 125, or lets it try under --best-effort.
void turn_knobs(state& s, int argument_count, char* const* arguments) noexcept;

} // namespace memreeve::bridge
