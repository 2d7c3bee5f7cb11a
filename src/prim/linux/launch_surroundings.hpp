// SPDX-License-Identifier: MIT
// What this process is surrounded by: limits, mounts, what the kernel and its filters allow. For the
// command line, as launch.hpp. Each question tries the thing itself where that is harmless, and
// leaves nothing behind. 0 means yes, an errno value why not.
#pragma once

#include "base/units.hpp"

#include <cstdint>
#include <string>

namespace memreeve::prim {

inline constexpr std::uint64_t no_resource_limit = ~std::uint64_t{0};
struct resource_limits {                             // bytes, descriptors; no_resource_limit: none
    std::uint64_t address_space = no_resource_limit; // ulimit -v
    std::uint64_t data = no_resource_limit;          // ulimit -d
    std::uint64_t file_size = no_resource_limit;     // ulimit -f
    std::uint64_t open_files = no_resource_limit;    // ulimit -n
};
resource_limits limits_of_this_process();

struct mount_facts {
    bool is_read_only = false;
    bool forbids_programs = false; // noexec
};
int examine_mount(const std::string& path, mount_facts& out);
int resolve_path(const std::string& path, std::string& out); // symbolic links followed
int may_write(const std::string& path);                      // access(), by the effective ids

// A file in memory of that size, mapped shared and given back.
int try_shared_memory(byte_count size);
int try_process_descriptor();   // pidfd_open of this process
int try_guard_markers();        // MADV_GUARD_INSTALL, Linux 6.13
int try_wipe_on_fork();         // MADV_WIPEONFORK, Linux 4.14
int try_write_watch();          // userfaultfd WP_ASYNC and PAGEMAP_SCAN, Linux 6.7
int try_reading_other_memory(); // process_vm_readv, asked of this process

// ---- descendants --------------------------------------------------------------------------------
// From now on what a descendant leaves behind becomes this process's child. The children that are there
// already are somebody else's: a shell's that gave way to this program.
void adopt_orphans();
// Ends every other child this process has, and what those leave, by SIGKILL; returns how many there were.
// Waits for each of them.
int end_children();
// SIGKILL to a process group.
void end_group(int group);

} // namespace memreeve::prim
