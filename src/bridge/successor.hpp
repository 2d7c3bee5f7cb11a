// SPDX-License-Identifier: MIT
// A program that is about to be started from a governed one: can it be governed too?
#pragma once

#include "bridge/state.hpp"

namespace memreeve::bridge {

// Once, by the library's constructor: what a successor's LD_PRELOAD must name.
void remember_own_library() noexcept;

// Null: it can, or that cannot be told (scripts, files not found). Otherwise the reason.
const char* why_ungovernable(const char* path, char* const* environment) noexcept;

// Before an exec of `path` in this process: a provisional picture, and, when the successor cannot be
// governed, a note of it (decisions 19, 27).
void before_exec(state& s, const char* path, char* const* environment) noexcept;
// A child that was started as process `pid`.
void after_spawn(state& s, int pid, const char* path, char* const* environment) noexcept;

} // namespace memreeve::bridge
