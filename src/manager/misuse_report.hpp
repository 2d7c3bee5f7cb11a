// SPDX-License-Identifier: MIT
// What a program did wrong to a heap, as one line: for the function that the host was given, else for
// standard error, there at most lines_said times in a process. Async-signal-safe as far as that function
// is.
#pragma once

#include "base/text_line.hpp"
#include "heap/misuse.hpp"
#include "manager/manager.hpp"

namespace memreeve::manager {

inline constexpr unsigned lines_said = 100;

// A sentence without its subject, which is the address in `w.where`.
void add_misuse(text_line& l, const heap::misuse& w) noexcept;
// `call`: what was asked of a heap of `who`. Nothing is said of misuse_kind::none.
void report_misuse(manager& m, owner_id who, const char* call, const heap::misuse& w) noexcept;

} // namespace memreeve::manager
