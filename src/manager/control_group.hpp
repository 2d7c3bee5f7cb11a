// SPDX-License-Identifier: MIT
// The control groups this process is in, as far as they bound memory: version 2, version 1, or both
// (a version 1 memory controller beside a version 2 tree without one).
//
// Where the hierarchies are mounted is read once, from /proc/self/mountinfo; without that file the
// usual places are assumed. Which group the process is in, limits and usage are read each time: a
// process is moved, a limit changed while it runs. A group's path is taken relative to what the mount
// shows; a group that lies outside of what is visible (a path with "..") binds nothing, one named in
// another namespace's terms is the mount itself. Thread-safe, no lock, nothing is allocated.
#pragma once

#include "base/units.hpp"
#include "manager/system_file.hpp"
#include "pressure/load.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace memreeve::manager {

class control_groups {
public:
    constexpr control_groups() noexcept = default;
    control_groups(const control_groups&) = delete;
    control_groups& operator=(const control_groups&) = delete;

    // Before anything else; `root_prefix` is put before every path and must stay valid.
    void open(const char* root_prefix) noexcept { root_ = root_prefix; }

    // The tightest group on the way from this process's own to the root of what is visible: limit,
    // and what is left of it when file pages that can go at once are not counted as used. Not known
    // when no group there has a limit.
    pressure::room room() noexcept;
    // The smallest limit on that way, bytes; 0 when there is none. Not always that of room(): a
    // larger one may be nearer to its end.
    byte_count limit() noexcept;
    // This process's own group of version 2; false when there is none.
    bool own_directory(file_path& out) noexcept;
    // How often a limit of version 2 was met (memory.events: high, max, oom), all levels together;
    // false when no level tells.
    bool limit_hits(std::uint64_t* out) noexcept;

private:
    // One mount of a hierarchy: where, and which of its groups is seen there.
    struct mount {
        static constexpr std::size_t capacity = 512;
        char point[capacity]{};
        char top[capacity]{};
        bool is_there() const noexcept { return point[0] != '\0'; }
    };
    struct mounts {
        mount version_1{};
        mount version_2[2]{}; // the second only where mounts are assumed, not read
    };
    // Paths of this process's groups; empty: none.
    struct membership {
        char version_1[file_path::capacity];
        char version_2[file_path::capacity];
    };
    bool read_membership(membership& out) const noexcept;
    void find_mounts(const membership& own, mounts& out) const noexcept;
    static void take_mount(const char* line, const membership& own, mounts& out) noexcept;
    // Calls visit(directory, keep, is_version_2) for each of this process's groups; the first `keep`
    // characters of the directory are the mount.
    template <class Visit>
    void for_each(Visit visit) noexcept;
    template <class Visit>
    void visit_mounts(const membership& own, const mounts& where, Visit& visit) const noexcept;

    enum : std::uint32_t { mounts_unknown = 0, mounts_being_found, mounts_known };
    const char* root_ = "";
    std::atomic<std::uint32_t> state_{mounts_unknown};
    mounts mounts_{}; // written once, before mounts_known
};

} // namespace memreeve::manager
