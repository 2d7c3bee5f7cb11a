// SPDX-License-Identifier: MIT
// The program's environment, read without libc's functions (a program may have replaced them).
#pragma once

#include "manager/manager.hpp"

namespace memreeve::bridge {

// The value of `name` in this process's environment, or null. Valid until the program changes it.
const char* variable(const char* name) noexcept;
// The same in another environment (of a program to be started).
const char* variable_in(char* const* environment, const char* name) noexcept;
// The first variable whose name begins so, as "NAME=value", or null.
const char* variable_with_prefix(const char* prefix) noexcept;
// "NAME=value", which stays where it is, becomes part of this process's environment, in the place of
// the variable's definition so far or behind all, for which the list moves into memory of its own.
// Before other threads. false: there is no memory for the list.
bool put_into_environment(manager::manager& memory, char* definition) noexcept;
// The variable is in this process's environment no more. Before other threads.
void take_out_of_environment(const char* name) noexcept;
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
