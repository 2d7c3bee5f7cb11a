// SPDX-License-Identifier: MIT
// What memreeve says on standard error.
#pragma once

#include <string>
#include <string_view>

namespace memreeve::cli {

// Names come from the governed program: control characters and broken UTF-8 become \xNN, so that
// nothing a program is called can drive a terminal (attack A9).
std::string printable(std::string_view text);

// One line "memreeve: <text>" to standard error.
void say(std::string_view text);

// Arguments as a shell would take them, for messages.
std::string shell_word(std::string_view word);

} // namespace memreeve::cli
