// SPDX-License-Identifier: MIT
// What the machine and the container have left, and what that makes of an owner's load.
//
// Reads /proc/meminfo (MemAvailable) and the limits and usage of this process's control groups
// (control_group.hpp). A sample is kept for 100 ms; a fresh one costs no system call (decision 13). What cannot be read is not known and
// binds nothing. Thread-safe without a lock: a refresh is claimed by moving the time stamp, so a
// thread stopped inside it delays others by nothing and is overtaken 100 ms later. Total and
// available of one room may come from neighbouring samples. Nothing is allocated.
#pragma once

#include "base/units.hpp"
#include "budget/budget.hpp"
#include "manager/control_group.hpp"
#include "pressure/load.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

class sensors {
public:
    static constexpr std::uint64_t fresh_ns = 100'000'000;

    struct sample {
        pressure::room machine;
        pressure::room container;
    };

    constexpr sensors() noexcept = default;
    sensors(const sensors&) = delete;
    sensors& operator=(const sensors&) = delete;

    // Before the first read. `root_prefix` is put before /proc and /sys and must stay valid.
    // `with_system` false: nothing is read and both rooms stay unknown.
    void open(const char* root_prefix, bool with_system) noexcept;
    bool is_on() const noexcept { return with_system_; }
    const char* root_prefix() const noexcept { return root_; }
    control_groups& groups() noexcept { return groups_; }
    sample read() noexcept;
    // What this process could have if nobody else used anything: the smallest of RAM and the groups'
    // limits, bytes, read now; 0 when neither is known.
    byte_count total() noexcept;

private:
    struct shared_room {
        std::atomic<byte_count> total{0};
        std::atomic<byte_count> available{0};
    };
    void refresh() noexcept;

    const char* root_ = "";
    control_groups groups_{};
    bool with_system_ = true;
    std::atomic<std::uint64_t> taken_at_{0}; // 0: never
    std::atomic<bool> has_sample_{false};
    shared_room machine_{};
    shared_room container_{};
};

// The tightest budget on the way from `who` to the root at task level; unknown when no account
// there has a limit. Bytes. A guarantee of an account below counts as its own room.
pressure::room budget_room(const budget::tree& accounts, owner_id who) noexcept;

// Decision 13: budget, container or machine, whichever binds.
pressure::load load_of(const budget::tree& accounts, owner_id who, sensors& system) noexcept;

} // namespace memreeve::manager
