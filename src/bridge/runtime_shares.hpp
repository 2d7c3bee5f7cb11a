// SPDX-License-Identifier: MIT
// How much of a limit each part of a runtime gets. The figures come from measurements, which
// docs/runtimes.md shows (docs/dotnet.md for CoreCLR). Pure functions of their arguments; bytes.
#pragma once

#include "base/units.hpp"
#include "bridge/java_options.hpp"

namespace memreeve::bridge {

inline constexpr byte_count mib = byte_count{1} << 20;

// The limits a runtime needs to start and to say hello: below `least` it never did, under `works` it
// always does.
struct start_limits {
    byte_count least, works;
};
inline constexpr start_limits coreclr_start{24 * mib, 24 * mib};
inline constexpr start_limits mono_start{26 * mib, 32 * mib};
inline constexpr start_limits node_start{10 * mib, 16 * mib};
inline constexpr start_limits cpython_start{4 * mib, 8 * mib};
// The same for a JVM with what is set for it.
byte_count smallest_java_limit(java_collector collector, unsigned processors) noexcept;

// CoreCLR: the GC heap's share; 0 where it would not start with it.
byte_count coreclr_heap_limit(byte_count limit) noexcept;

// What CoreCLR reserves for its heap's regions where the user has chosen their size, so that it starts
// with that share; 0: what it reserves by itself will do. `heaps`: at most.
byte_count coreclr_region_range(byte_count heap_limit, byte_count region, unsigned heaps) noexcept;

// HotSpot. 0: leave it as it is.
struct java_shares {
    byte_count heap = 0; // 0: the limit is too small
    byte_count metaspace = 0, code_cache = 0, direct = 0;
};
// `users`: sizes that are there are left alone, and counted up to twice what they would get here.
java_shares shares_for_java(byte_count limit, byte_count reserve, java_collector collector,
                            unsigned processors, const java_options& users) noexcept;
// ZGC's heap at the start; it grows page by page.
inline constexpr byte_count least_z_heap = 8 * mib;
const char* name_of(java_collector collector) noexcept;

// V8: --max-old-space-size and --max-semi-space-size, in MiB. 0: leave it as it is.
struct node_shares {
    byte_count old_space = 0, semi_space = 0;
};
// `sets_semi_space`: it can be set; else `users_semi_space` bytes are counted for it (0: V8's own).
node_shares shares_for_node(byte_count limit, byte_count reserve, bool sets_semi_space = true,
                            byte_count users_semi_space = 0) noexcept;

} // namespace memreeve::bridge
