// SPDX-License-Identifier: MIT
// What the files of a .NET program say: is it one, and does it set a limit for its heap itself?
// Reads files, allocates nothing.
#pragma once

#include "base/units.hpp"

namespace memreeve::bridge {

// Does this program file start CoreCLR? The muxer by host/fxr and corerun by libcoreclr.so beside it,
// and by what they ask of it; an apphost by <path>.runtimeconfig.json beside it or, a single file
// too, by the mark every apphost carries.
// `path` is what /proc/self/exe names. Async-signal-safe.
bool is_coreclr_host(const char* path) noexcept;

// A property in the configuration: any System.GC.HeapHardLimit* (Percent, SOH, LOH, POH too), or another.
struct configured {
    bool is_there = false;
    byte_count bytes = 0; // of HeapHardLimit itself; 0: another one, or no number
};

// Looks where the host looks: for `dotnet [exec] [OPTIONS] APP.dll` beside APP.dll or where
// --runtimeconfig says, for an apphost beside it, for a single file inside it. A plain search for
// the property's name, no parser: a file that names it otherwise (escapes) is not understood.
configured configured_heap_limit(const char* program, int argument_count,
                                 char* const* arguments) noexcept;
// The same for one property: "System.GC.RegionSize".
configured configured_property(const char* name, const char* program, int argument_count,
                               char* const* arguments) noexcept;

} // namespace memreeve::bridge
