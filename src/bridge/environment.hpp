// SPDX-License-Identifier: MIT
// The program's environment, read without libc's functions (a program may have replaced them).
#pragma once

namespace memreeve::bridge {

// The value of `name` in this process's environment, or null. Valid until the program changes it.
const char* variable(const char* name) noexcept;
// The same in another environment (of a program to be started).
const char* variable_in(char* const* environment, const char* name) noexcept;
// This process's environment.
char** own_environment() noexcept;

} // namespace memreeve::bridge
