// SPDX-License-Identifier: MIT
#include "bridge/environment.hpp"

#include "bridge/text.hpp"

extern "C" char** environ;

namespace memreeve::bridge {

const char* variable_in(char* const* environment, const char* name) noexcept {
    if (environment == nullptr) {
        return nullptr;
    }
    for (; *environment != nullptr; ++environment) {
        if (starts_with(*environment, name) && (*environment)[length(name)] == '=') {
            return *environment + length(name) + 1;
        }
    }
    return nullptr;
}

governing_variables take_out_governing_variables() noexcept {
    governing_variables taken;
    if (environ == nullptr) {
        return taken;
    }
    char** to = environ;
    for (char** from = environ; *from != nullptr; ++from) {
        if (starts_with(*from, "LD_PRELOAD=")) {
            taken.preload = *from;
        } else if (starts_with(*from, "MEMREEVE_LEDGER=")) {
            taken.ledger = *from;
        } else {
            *to++ = *from;
        }
    }
    *to = nullptr;
    return taken;
}

char** own_environment() noexcept { return environ; }

const char* variable(const char* name) noexcept { return variable_in(environ, name); }

} // namespace memreeve::bridge
