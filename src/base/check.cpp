// SPDX-License-Identifier: MIT
#include "base/check.hpp"

namespace memreeve {

constinit check_writer report_broken_invariant = nullptr;

void broken_invariant(const char* sentence) noexcept {
    if (report_broken_invariant != nullptr) {
        report_broken_invariant(sentence);
    }
    __builtin_trap();
}

} // namespace memreeve
