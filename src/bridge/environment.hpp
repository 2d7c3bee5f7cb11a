// SPDX-License-Identifier: MIT
// The program's environment, read without libc's functions (a program may have replaced them).
#pragma once

namespace memreeve::bridge {

// The value of `name` in this process's environment, or null. Valid until the program changes it.
const char* variable(const char* name) noexcept;
// The same in another environment (of a program to be started).
const char* variable_in(char* const* environment, const char* name) noexcept;
// The variables that make a program governed, taken out of this process's environment so that what
// it starts is left alone (--no-children).
struct governing_variables {
    char* preload = nullptr; // "LD_PRELOAD=..."
    char* ledger = nullptr;  // "MEMREEVE_LEDGER=..."
};
governing_variables take_out_governing_variables() noexcept;
// This process's environment.
char** own_environment() noexcept;

} // namespace memreeve::bridge
