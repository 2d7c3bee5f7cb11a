// SPDX-License-Identifier: MIT
#include "cli/finding.hpp"
#include "cli/size.hpp"
#include "cli/text.hpp"
#include "manager/ledger.hpp"
#include "manager/sensors.hpp"
#include "prim/linux/launch.hpp"
#include "prim/linux/launch_surroundings.hpp"
#include "prim/linux/mapping.hpp"

#include <cstdlib>
#include <cstring>
#include <fmt/format.h>

namespace memreeve::cli {

namespace {

using enum finding_state;

constexpr std::uint64_t usual_map_count = 65530;
// Below this, what a runtime reserves without using may not fit.
constexpr std::uint64_t roomy_address_space = std::uint64_t{16} << 30;

std::string first_line_of(const std::string& path) {
    std::string text;
    return prim::read_whole_file(path, text) == 0 ? text.substr(0, text.find('\n')) : "";
}

// Of a file of lines "Name:<blank>value".
std::string field_of(const std::string& path, std::string_view name) {
    std::string text;
    if (prim::read_whole_file(path, text) != 0) {
        return {};
    }
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line(text.data() + at, end - at);
        if (line.starts_with(name)) {
            const std::size_t value = line.find_first_not_of(" \t", name.size());
            return value == line.npos ? "" : std::string(line.substr(value));
        }
        at = end + 1;
    }
    return {};
}

finding from_try(const char* name, const char* what, int error, finding_state otherwise,
                 const char* means, const char* remedy) {
    if (error == 0) {
        return {name, fine, what, "", "", true};
    }
    return {name,  otherwise, fmt::format("{}: {}", what, std::strerror(error)),
            means, remedy,    true};
}

void examine_kernel(std::vector<finding>& out) {
    std::string self;
    out.push_back(from_try("proc", "/proc is mounted", prim::read_link("/proc/self/exe", self),
                           prevents, "programs reach the ledger through /proc",
                           "mount it: mount -t proc proc /proc"));
    out.push_back(
        from_try("shared-memory", "memfd_create, for the ledger",
                 prim::try_shared_memory(manager::ledger::size_for(manager::shared_shape)),
                 prevents, "the books of all processes lie in one file in memory",
                 "allow memfd_create in the seccomp profile; look at ulimit -v, -f and -n"));
    out.push_back(from_try("pidfd", "pidfd_open", prim::try_process_descriptor(), prevents,
                           "memreeve watches by it what it starts",
                           "Linux 5.3; allow it in the seccomp profile"));
    out.push_back(from_try("wipe-on-fork", "MADV_WIPEONFORK", prim::try_wipe_on_fork(), prevents,
                           "a child of fork is told by it", "Linux 4.14; allow it"));
    out.push_back(from_try("guard-markers", "MADV_GUARD_INSTALL", prim::try_guard_markers(), note,
                           "small reservations cost a kernel mapping each and two calls",
                           "Linux 6.13 has it; nothing else changes"));
    out.push_back(from_try("mapping-query", "PROCMAP_QUERY", prim::try_mapping_query(), note,
                           "questions about foreign memory read /proc/self/maps, which is slower",
                           "Linux 6.11 has it"));
    out.push_back(from_try("write-watch", "userfaultfd WP_ASYNC, PAGEMAP_SCAN",
                           prim::try_write_watch(), note,
                           "MEM_WRITE_WATCH is refused; unmodified programs never ask for it",
                           "Linux 6.7, and a seccomp profile that allows userfaultfd"));
    out.push_back(from_try("process-memory", "process_vm_readv", prim::try_reading_other_memory(),
                           note, "lazily touched memory may be told less exactly",
                           "allow it in the seccomp profile (ptrace rights)"));
    std::string pressure;
    out.push_back(from_try("pressure", "/proc/pressure/memory",
                           prim::read_whole_file("/proc/pressure/memory", pressure), note,
                           "shortage in the machine is not heard of; limits hold all the same",
                           "boot with psi=1"));
    const std::string mode = field_of("/proc/self/status", "Seccomp:");
    if (mode == "0" || mode.empty()) {
        out.push_back({"seccomp", fine, mode.empty() ? "unknown" : "no filter", "", ""});
    } else {
        out.push_back({"seccomp", note, "a filter is in force",
                       "system calls may be refused; those that memreeve needs were tried above",
                       ""});
    }
}

void examine_limits(std::vector<finding>& out) {
    manager::sensors system;
    system.open("", true);
    const byte_count machine = prim::machine_memory();
    const byte_count group = system.groups().limit();
    if (group != 0 && (machine == 0 || group < machine)) {
        out.push_back({"container-limit", note, fmt::format("cgroup: {}", show_size(group)),
                       "the kernel kills above it; what nobody asks for counts there too",
                       "keep --limit some 10 % below it"});
    } else {
        out.push_back({"container-limit", fine,
                       fmt::format("no cgroup limit; {} of memory",
                                   machine == 0 ? "unknown size" : show_size(machine)),
                       "", ""});
    }
    const prim::resource_limits limits = prim::limits_of_this_process();
    std::vector<std::string> tight;
    if (limits.address_space < roomy_address_space) {
        out.push_back({"ulimit-v", note,
                       fmt::format("ulimit -v: {}", show_size(limits.address_space)),
                       "counts address space, used or not: memreeve takes some 60 MiB of it in "
                       "each process, Node, Java and .NET reserve gigabytes",
                       "raise it and use memreeve run --limit for memory"});
    }
    if (limits.data < roomy_address_space) {
        out.push_back({"ulimit-d", note, fmt::format("ulimit -d: {}", show_size(limits.data)),
                       "refuses before memreeve does: what is refused there is not in its counts",
                       "raise it above --limit"});
    }
    if (limits.open_files < 64) {
        out.push_back({"ulimit-n", note, fmt::format("ulimit -n: {}", limits.open_files),
                       "memreeve itself opens eight", "raise it"});
    }
    const std::string overcommit = first_line_of("/proc/sys/vm/overcommit_memory");
    if (overcommit == "2") {
        out.push_back({"overcommit", note, "vm.overcommit_memory = 2",
                       "the kernel refuses too, by the whole machine's commit limit; memreeve's "
                       "reservations do not count there",
                       ""});
    } else {
        out.push_back(
            {"overcommit", fine,
             fmt::format("vm.overcommit_memory = {}", overcommit.empty() ? "unknown" : overcommit),
             "", ""});
    }
    const std::string maps = first_line_of("/proc/sys/vm/max_map_count");
    const std::uint64_t count = std::strtoull(maps.c_str(), nullptr, 10);
    if (count != 0 && count < usual_map_count) {
        out.push_back({"map-count", note, fmt::format("vm.max_map_count = {}", count),
                       "programs with many mappings are refused memory there",
                       fmt::format("sysctl vm.max_map_count={}", usual_map_count)});
    } else {
        out.push_back({"map-count", fine,
                       fmt::format("vm.max_map_count = {}", maps.empty() ? "unknown" : maps), "",
                       ""});
    }
}

void examine_mounts(std::vector<finding>& out) {
    prim::mount_facts root;
    if (prim::examine_mount("/", root) == 0 && root.is_read_only) {
        out.push_back({"root", note, "/ is read-only", "memreeve writes no file but --summary's",
                       "name a writable place there"});
    } else {
        out.push_back({"root", fine, "/ is writable", "", ""});
    }
    const int e = prim::may_write("/dev/shm");
    out.push_back(from_try("dev-shm", "/dev/shm is writable", e, note,
                           "memreeve does without; programs that use shm_open do not",
                           "mount a tmpfs there"));
}

} // namespace

std::vector<finding> examine_surroundings() {
    std::vector<finding> out;
    examine_kernel(out);
    examine_limits(out);
    examine_mounts(out);
    return out;
}

} // namespace memreeve::cli
