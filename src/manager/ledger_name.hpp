// SPDX-License-Identifier: MIT
// What MEMREEVE_LEDGER says: where a run's ledger is opened, and whose it is.
//
//   /proc/<launcher>/fd/<n>:<the launcher's start time, field 22 of its stat>
//
// The path alone outlives its launcher: another may get the pid, and keeps its ledger under the same
// number. The ledger's header has the same start time, written by the launcher too, so that both are of
// one clock whatever namespace they are read in.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memreeve::manager {

class ledger_name {
public:
    // Of anything else: is_complete() is false.
    constexpr explicit ledger_name(const char* text) noexcept {
        std::size_t n = 0;
        for (; text[n] != '\0' && text[n] != ':' && n + 1 < sizeof path_; ++n) {
            path_[n] = text[n];
        }
        bool complete = text[n] == ':' && number(text + n + 1, start_time_) == '\0';
        constexpr char begin[] = "/proc/";
        constexpr std::size_t skipped = sizeof begin - 1;
        for (std::size_t i = 0; i < skipped; ++i) {
            complete = complete && path_[i] == begin[i];
        }
        std::uint64_t pid = 0;
        complete = complete && number(path_ + skipped, pid) == '/' && pid <= most_pids;
        is_complete_ = complete;
        launcher_ = complete ? static_cast<int>(pid) : 0;
    }

    bool is_complete() const noexcept { return is_complete_; }
    const char* path() const noexcept { return path_; }
    int launcher() const noexcept { return launcher_; }
    std::uint64_t launcher_start_time() const noexcept { return start_time_; }

private:
    static constexpr std::uint64_t most_pids = 1U << 30;

    // What follows the number; anything but the wanted where there is none.
    static constexpr char number(const char* text, std::uint64_t& out) noexcept {
        if (*text < '0' || *text > '9') {
            return '?';
        }
        for (; *text >= '0' && *text <= '9'; ++text) {
            out = out * 10 + static_cast<std::uint64_t>(*text - '0');
        }
        return *text;
    }

    char path_[48]{}; // 30 is the longest there is
    std::uint64_t start_time_ = 0;
    int launcher_ = 0;
    bool is_complete_ = false;
};

} // namespace memreeve::manager
