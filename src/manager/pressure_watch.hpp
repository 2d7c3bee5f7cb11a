// SPDX-License-Identifier: MIT
// Pressure that others make: the kernel's stall information of the machine and of this process's
// control group, or what the service manager named instead (service_watch.hpp). Lives while somebody
// is subscribed and belongs to the notifier's thread; closed, it holds no descriptor.
//
//   named by the service manager   PSI file, FIFO or socket; nothing else is watched then
//   else, of machine and group     a trigger on the PSI file
//   where triggers are refused     the PSI file's total, read every 100 ms
//   where there is no PSI          how often the group met its limits (memory.events), every 100 ms
//
// Looked at every 50 ms without waiting: the thread sleeps on a futex that requests may ring, and a
// descriptor that they would have to write to instead is none to trust in a program that closes
// descriptors it does not know.
#pragma once

#include "manager/control_group.hpp"
#include "manager/pressure_stall.hpp"
#include "manager/service_watch.hpp"
#include "prim/watching.hpp"

#include <cstdint>

namespace memreeve::manager {

class pressure_watch {
public:
    static constexpr std::uint64_t look_period_ns = 50'000'000;
    static constexpr std::uint64_t read_period_ns = 100'000'000;     // of files without a trigger
    static constexpr std::uint64_t review_period_ns = 1'000'000'000; // another group, a new socket
    // A notice comes at most once in a window of 2 s: what lasts must not look like an end.
    static constexpr std::uint64_t hold_ns = 2'500'000'000;

    constexpr pressure_watch() noexcept = default;
    pressure_watch(const pressure_watch&) = delete;
    pressure_watch& operator=(const pressure_watch&) = delete;

    // Not thread-safe, before open().
    service_watch& wishes() noexcept { return wishes_; }

    // `root_prefix` and `groups` must outlive close().
    void open(const char* root_prefix, control_groups& groups, std::uint64_t now_ns) noexcept;
    void close() noexcept;
    // Something must be looked at every look_period_ns.
    bool has_descriptor() const noexcept {
        return named_.told.fd >= 0 || machine_.told.fd >= 0 || group_.told.fd >= 0;
    }
    // Takes what has come in. True when there is news: pressure where there was none.
    bool look(std::uint64_t now_ns) noexcept;
    bool is_pressed(std::uint64_t now_ns) const noexcept { return now_ns < pressed_until_; }

private:
    struct source {
        prim::watched told{};    // by descriptor
        bool is_metered = false; // by reading the file
        growth_meter meter{stall_in_window_us};
        std::uint64_t quiet_until = 0; // of a descriptor: not looked at before
        bool is_used() const noexcept { return told.fd >= 0 || is_metered; }
    };

    bool open_named() noexcept;
    void open_stall_file(source& s, const char* path) noexcept;
    void open_own() noexcept;
    void close_own() noexcept;
    void close_source(source& s) noexcept;
    void review() noexcept;
    bool machine_path(file_path& out) const noexcept;
    std::uint64_t find_group(file_path& out) noexcept;
    bool take(source& s, std::uint64_t now_ns) noexcept;
    bool drain(source& s) noexcept;
    bool read_meters(std::uint64_t now_ns) noexcept;

    const char* root_ = "";
    control_groups* groups_ = nullptr;
    service_watch wishes_{};
    bool is_open_ = false;
    source named_{};
    source machine_{};
    source group_{};
    std::uint64_t group_mark_ = 0; // of the path that group_ was opened at
    bool counts_hits_ = false;
    growth_meter hits_{1};
    bool has_echo_ = false; // what was written into the FIFO may come back
    std::uint64_t read_at_ = 0;
    std::uint64_t review_at_ = 0;
    std::uint64_t pressed_until_ = 0;
};

} // namespace memreeve::manager
