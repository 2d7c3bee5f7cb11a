// SPDX-License-Identifier: MIT
// One thing that was looked at: what there is, what it means for a governed program, what to do.
#pragma once

#include <string>
#include <vector>

namespace memreeve::cli {

enum class finding_state { fine, note, restricts, prevents };
constexpr const char* name_of(finding_state s) noexcept {
    switch (s) {
    case finding_state::fine: return "ok";
    case finding_state::note: return "note";
    case finding_state::restricts: return "limits";
    case finding_state::prevents: return "no";
    }
    return "";
}

struct finding {
    std::string name; // of what was looked at; stable
    finding_state state = finding_state::fine;
    std::string found;
    std::string means;  // empty where there is nothing to know
    std::string remedy; // empty where there is nothing to do
    bool is_of_kernel = false;
};

// What the machine, the container and the kernel allow. Needs no command.
std::vector<finding> examine_surroundings();

} // namespace memreeve::cli
