// SPDX-License-Identifier: MIT
// Variables that memreeve puts into this process's environment for its runtime, told apart from
// what the user put there: what is inherited from an earlier image of the run is ours again.
// Before main and before other threads.
#pragma once

#include "base/units.hpp"

namespace memreeve::bridge {

class state;

// A line more in one of the image record's texts (newline separated, cut off where it is full).
void append_line(char (&field)[256], const char* text) noexcept;

// NAME=value, where the variable is ours alone. What an earlier image put there is marked by
// MEMREEVE_SET_<NAME>, so that it is known when the limit has changed meanwhile.
bool is_earlier_setting(const char* name) noexcept;
void put_setting(state& s, const char* name, const char* value) noexcept;
// What an earlier image put there goes; the user's stays.
void drop_setting(const char* name) noexcept;

// For variables that hold a list of options of which the last wins, ours go before the user's.
//
// What the user has in it; null where that is nothing.
const char* users_options(const char* name) noexcept;
// Ours and the user's; or the user's alone, where `ours` is empty.
void put_options(state& s, const char* name, const char* ours) noexcept;

// For what is left alone (--no-children): the "NAME=value" it is to get in place of this one, null:
// none.
const char* without_settings(const char* definition) noexcept;

} // namespace memreeve::bridge
