// SPDX-License-Identifier: MIT
// How many threads this process has.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace memreeve::test {

// Without those that are ending: a thread is joined before the system has forgotten it.
inline std::size_t own_threads() {
    constexpr std::uint64_t is_ending = 4; // PF_EXITING, set before whoever joins it is woken
    std::size_t n = 0;
    std::error_code e;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", e)) {
        std::string line;
        std::getline(std::ifstream(task.path() / "stat"), line);
        const std::size_t name_end = line.rfind(')');
        if (name_end == std::string::npos) {
            continue; // gone
        }
        std::istringstream rest(line.substr(name_end + 1));
        char state = 0;
        long parent = 0;
        long group = 0;
        long session = 0;
        long terminal = 0;
        long foreground = 0;
        std::uint64_t flags = 0;
        rest >> state >> parent >> group >> session >> terminal >> foreground >> flags;
        n += (flags & is_ending) == 0 ? 1 : 0;
    }
    return n;
}

} // namespace memreeve::test
