// SPDX-License-Identifier: MIT
// Settings of one manager; every default is what zero-initialisation gives an embedder's null options.
#pragma once

#include "base/units.hpp"

#include <cstdint>

namespace memreeve::manager {

struct options {
    bool allow_write_execute = true; // MALLOC_EXECUTABLE and PAGE_EXECUTE_READWRITE (decision 10)
    bool strict_levels = true;       // a critical level above 2 is refused (decision 3)
    bool watch_system = true;        // container and machine count in load() and notifications
    bool discard_at_once = false; // MEM_RESET drops contents now (what madvise(DONTNEED) promises)
    bool guard_pages = true;      // MADV_GUARD_INSTALL (Linux 6.13) where the kernel has it
    bool watch_by_faults = false; // deal_with_fault() sees every fault (decision 9)
    bool relaxed = false;         // reserved memory of small reservations may be touched
    const char* root_prefix = ""; // before /proc and /sys/fs/cgroup: tests use directory trees
    // Is given a line on each misuse of a heap (misuse_report.hpp); null: standard error.
    void (*report)(void* context, const char* line) = nullptr;
    void* report_context = nullptr;
};

} // namespace memreeve::manager
