// SPDX-License-Identifier: MIT
// Between knobs.cpp and the runtimes that take more than a few lines: what each starts from, and the
// sentences they have in common.
#pragma once

#include "base/units.hpp"

namespace memreeve::bridge {

class state;

struct room {
    byte_count limit = 0;   // L: of the run, or the container's where that is lower
    byte_count reserve = 0; // the part of it that is for higher critical levels only
};

// The user has set `name` (to `value`, unless null): left as it is, told by -v and in the summary.
void said_by_user(state& s, const char* name, const char* value) noexcept;
// The same is larger than the limit: told in the closing lines.
void above_the_limit(state& s, const room& r, const char* name, byte_count bytes) noexcept;
// One line that names what works; ends the process with 125 unless --best-effort lets it try.
void too_small(state& s, const room& r, const char* runtime, byte_count smallest) noexcept;

inline constexpr const char* java_variable = "JAVA_TOOL_OPTIONS";
inline constexpr const char* node_variable = "NODE_OPTIONS";
void turn_java(state& s, const room& r, int argument_count, char* const* arguments) noexcept;
void turn_node(state& s, const room& r, int argument_count, char* const* arguments) noexcept;

} // namespace memreeve::bridge
