// SPDX-License-Identifier: MIT
#include "cli/governed_tree.hpp"

#include "manager/ledger_name.hpp"
#include "prim/linux/launch.hpp"
#include "prim/prim.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <string_view>

namespace memreeve::cli {

namespace {

constexpr std::string_view ledger_name = "/memfd:memreeve-ledger";
constexpr int most_descriptors_looked_at = 256; // the launcher makes its ledger among the first
constexpr int most_ancestors = 64;
constexpr unsigned lock_tries = 500; // of 10 ms
constexpr unsigned damage_looks = 5;

// What follows `key` in a text of lines or of NUL-terminated strings.
std::string value_after(std::string_view text, std::string_view key, char separator) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find(separator, at), text.size());
        if (const std::string_view line = text.substr(at, end - at); line.starts_with(key)) {
            return std::string(line.substr(key.size()));
        }
        at = end + 1;
    }
    return {};
}

int number_in(std::string_view text) {
    const std::size_t at = text.find_first_of("0123456789");
    int n = 0;
    if (at != std::string_view::npos) {
        (void)std::from_chars(text.data() + at, text.data() + text.size(), n);
    }
    return n;
}

bool is_ledger(const std::string& path) {
    std::string target;
    return prim::read_link(path, target) == 0 && target.starts_with(ledger_name);
}

std::string ledger_among_descriptors(int pid) {
    for (int fd = 0; fd < most_descriptors_looked_at; ++fd) {
        if (std::string path = fmt::format("/proc/{}/fd/{}", pid, fd); is_ledger(path)) {
            return path;
        }
    }
    return {};
}

} // namespace

governed_tree::~governed_tree() {
    if (memory_ != 0) {
        (void)prim::unmap(memory_, size_);
    }
    if (fd_ >= 0) {
        (void)prim::close(fd_); // and so unlocked
    }
}

// EINVAL: another version's, or another launcher's. EBADMSG: written over by a program under it.
bool governed_tree::attach(const std::string& path, int launcher, int* error) {
    const long fd = prim::open_read_write(path.c_str());
    if (fd < 0) {
        *error = static_cast<int>(-fd);
        return false;
    }
    fd_ = static_cast<int>(fd);
    const byte_count size = manager::ledger::size_for(manager::shared_shape);
    *error = EINVAL;
    // A file of that name may be anybody's; beyond its end is SIGBUS.
    prim::file_facts facts;
    if (prim::examine_file(fmt::format("/proc/self/fd/{}", fd_), facts) != 0 || facts.size < size) {
        return false;
    }
    address first = 0;
    if (prim::map_shared(fd_, page_size, true, &first) != 0) {
        return false;
    }
    const auto& header = *reinterpret_cast<const manager::ledger_header*>(first);
    const std::uint64_t magic = header.magic;
    const bool is_known = magic == manager::ledger_magic &&
                          header.version == manager::ledger_version && header.size == size;
    const bool is_launchers = header.launcher_pid.load(std::memory_order_relaxed) == launcher &&
                              header.launcher_start_time.load(std::memory_order_relaxed) ==
                                  prim::process_start_time(launcher);
    (void)prim::unmap(first, page_size);
    if (magic != 0 && magic != manager::ledger_magic) {
        *error = EBADMSG; // of every version
    }
    if (!is_known || !is_launchers || prim::map_shared(fd_, size, true, &memory_) != 0) {
        return false;
    }
    size_ = size;
    launcher_ = launcher;
    if (!books_.attach(reinterpret_cast<void*>(memory_), size) || is_damaged()) {
        *error = EBADMSG;
        return false;
    }
    return true;
}

// Images that come and go are not seen as a whole at every look.
bool governed_tree::is_damaged() {
    for (unsigned n = 0; n < damage_looks; ++n) {
        if (!books_.is_damaged()) {
            return false;
        }
        const std::uint32_t nobody_wakes = 0;
        prim::wait_on(&nobody_wakes, 0, 1'000'000);
    }
    return true;
}

bool governed_tree::open(int pid, std::string& why) {
    std::string status;
    if (prim::read_whole_file(fmt::format("/proc/{}/status", pid), status) != 0) {
        std::string self;
        why = prim::read_link("/proc/self/exe", self) == 0
                  ? "there is no such process"
                  : "cannot be looked up: /proc is not mounted or not readable here";
        return false;
    }
    if (value_after(status, "State:", '\n').find('Z') != std::string::npos) {
        why = "has ended already";
        return false;
    }
    std::string environment;
    const int e = prim::read_whole_file(fmt::format("/proc/{}/environ", pid), environment);
    if (e == EACCES || e == EPERM) {
        std::string own;
        (void)prim::read_whole_file("/proc/self/status", own);
        const int uid = number_in(value_after(status, "Uid:", '\n'));
        why = uid == number_in(value_after(own, "Uid:", '\n'))
                  ? "may not be looked into: the system forbids it; try as root, outside of a "
                    "container"
                  : fmt::format("belongs to another user (uid {}); that user or root may look at "
                                "its limit and change it",
                                uid);
        return false;
    }
    std::string path = ledger_among_descriptors(pid);
    int launcher = pid;
    bool has_ended = false;
    if (path.empty()) {
        const std::string value = value_after(environment, "MEMREEVE_LEDGER=", '\0');
        const manager::ledger_name name(value.c_str());
        path = name.is_complete() ? name.path() : value;
        launcher = number_in(path);
        std::string ignored;
        if (!path.empty() &&
            prim::read_whole_file(fmt::format("/proc/{}/status", launcher), ignored) == 0 &&
            prim::read_link(path, ignored) == EACCES) {
            why = fmt::format("is governed by the memreeve run of another user (pid {}); that user "
                              "or root may look at its limit and change it",
                              launcher);
            return false;
        }
        // Another may have got the pid meanwhile.
        has_ended = !path.empty() &&
                    (!is_ledger(path) ||
                     (name.is_complete()
                          ? prim::process_start_time(launcher) != name.launcher_start_time()
                          : prim::process_start_time(launcher) > prim::process_start_time(pid)));
    }
    for (int n = 0; path.empty() && n < most_ancestors; ++n) {
        launcher = number_in(value_after(status, "PPid:", '\n'));
        if (launcher <= 1 ||
            prim::read_whole_file(fmt::format("/proc/{}/status", launcher), status) != 0) {
            break;
        }
        path = ledger_among_descriptors(launcher);
    }
    if (has_ended) {
        why = fmt::format("was started by a memreeve run (pid {}) that has ended; the limit that "
                          "was in force stays and cannot be changed any more",
                          launcher);
        return false;
    }
    if (path.empty()) {
        why = "is not governed; only what `memreeve run` has started has a limit to look at and "
              "to change";
        return false;
    }
    int error = 0;
    if (!attach(path, launcher, &error)) {
        why = error == EINVAL
                  ? fmt::format("is governed by another version of memreeve, or from another pid "
                                "namespace (pid {}); use that version's command, there",
                                launcher)
              : error == EBADMSG
                  ? fmt::format("is governed by pid {}, whose ledger has been written over by a "
                                "program under it: its limit cannot be looked at or changed",
                                launcher)
                  : fmt::format("is governed by pid {}, whose ledger cannot be opened: {}",
                                launcher, std::strerror(error));
        return false;
    }
    const bool leaves_children_alone =
        (books_.header().flags.load(std::memory_order_relaxed) & manager::flag_no_children) != 0;
    if (leaves_children_alone && pid != launcher &&
        pid != books_.image(0).pid.load(std::memory_order_relaxed)) {
        why = fmt::format("is left alone by its memreeve run (--no-children); the limit of that is "
                          "looked at and changed by pid {}",
                          launcher);
        return false;
    }
    return true;
}

bool governed_tree::lock() {
    for (unsigned n = 0; n < lock_tries; ++n) {
        const int e = prim::lock_file(fd_);
        if (e != EWOULDBLOCK) {
            return e == 0;
        }
        const std::uint32_t nobody_wakes = 0;
        prim::wait_on(&nobody_wakes, 0, 10'000'000);
    }
    return false;
}

} // namespace memreeve::cli
