// SPDX-License-Identifier: MIT
#include "prim/linux/launch_surroundings.hpp"

#include "prim/linux/launch.hpp"
#include "prim/linux/mapping.hpp"
#include "prim/prim.hpp"
#include "prim/write_watch.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace memreeve::prim {

namespace {

std::uint64_t limit_of(__rlimit_resource_t which) {
    rlimit limit{};
    return ::getrlimit(which, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur
                                                                              : no_resource_limit;
}

// A page of our own, for what is tried on memory.
template <class Try>
int on_a_page(Try attempt) {
    address page = 0;
    if (const int e = map_records(page_size, &page); e != 0) {
        return e;
    }
    const int result = attempt(page);
    (void)unmap(page, page_size);
    return result;
}

} // namespace

resource_limits limits_of_this_process() {
    return {limit_of(RLIMIT_AS), limit_of(RLIMIT_DATA), limit_of(RLIMIT_FSIZE),
            limit_of(RLIMIT_NOFILE)};
}

int examine_mount(const std::string& path, mount_facts& out) {
    struct statvfs mount {};
    if (::statvfs(path.c_str(), &mount) != 0) {
        return errno;
    }
    out.is_read_only = (mount.f_flag & ST_RDONLY) != 0;
    out.forbids_programs = (mount.f_flag & ST_NOEXEC) != 0;
    return 0;
}

int resolve_path(const std::string& path, std::string& out) {
    char* const resolved = ::realpath(path.c_str(), nullptr);
    if (resolved == nullptr) {
        return errno;
    }
    out = resolved;
    std::free(resolved); // NOLINT: realpath's
    return 0;
}

int may_write(const std::string& path) {
    return ::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0 ? 0 : errno;
}

int try_shared_memory(byte_count size) {
    const long fd = create_memfd("memreeve-try");
    if (fd < 0) {
        return static_cast<int>(-fd);
    }
    address memory = 0;
    int e = resize(static_cast<int>(fd), size);
    if (e == 0) {
        e = map_shared(static_cast<int>(fd), size, true, &memory);
    }
    if (memory != 0) {
        (void)unmap(memory, size);
    }
    (void)close(static_cast<int>(fd));
    return e;
}

int try_process_descriptor() {
    const long fd = open_process(process_id());
    if (fd >= 0) {
        (void)close(static_cast<int>(fd));
    }
    return fd < 0 ? static_cast<int>(-fd) : 0;
}

int try_guard_markers() {
    return on_a_page([](address page) { return install_guard(page, page_size); });
}

int try_wipe_on_fork() {
    return on_a_page([](address page) { return wipe_on_fork(page, page_size); });
}

int try_write_watch() {
    const long watcher = open_write_watcher();
    if (watcher < 0) {
        return static_cast<int>(-watcher);
    }
    const long marks = open_page_marks();
    int e = marks < 0 ? static_cast<int>(-marks) : 0;
    if (e == 0) {
        e = on_a_page([&](address page) {
            if (const int w = watch_writes(static_cast<int>(watcher), page, page_size); w != 0) {
                return w;
            }
            range run{};
            address walked = 0;
            const long n = written_pages(static_cast<int>(marks), {page, page + page_size}, true, 1,
                                         &run, 1, &walked);
            return n < 0 ? static_cast<int>(-n) : 0;
        });
        (void)close(static_cast<int>(marks));
    }
    (void)close(static_cast<int>(watcher));
    return e;
}

int try_reading_other_memory() {
    const std::uint64_t there = 1;
    std::uint64_t here = 0;
    iovec to{&here, sizeof here};
    iovec from{const_cast<std::uint64_t*>(&there), sizeof there};
    return ::process_vm_readv(::getpid(), &to, 1, &from, 1, 0) < 0 ? errno : 0;
}

// ---- descendants --------------------------------------------------------------------------------

namespace {

// False: cannot be told.
bool read_children(std::vector<pid_t>& out) {
    std::string text;
    if (read_whole_file("/proc/self/task/" + std::to_string(::getpid()) + "/children", text) != 0) {
        return false;
    }
    for (const char* at = text.c_str(); *at != '\0';) {
        char* end = nullptr;
        const long pid = std::strtol(at, &end, 10);
        if (end == at || pid <= 0) {
            break;
        }
        out.push_back(static_cast<pid_t>(pid));
        at = *end == ' ' ? end + 1 : end;
    }
    return true;
}

// Not waited for either, so that their numbers stay theirs.
std::vector<pid_t> not_ours;

} // namespace

void adopt_orphans() {
    not_ours.clear();
    (void)read_children(not_ours);
    (void)::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

int end_children() {
    int ended = 0;
    // Each round ends a generation; what it leaves is the next one's.
    for (int round = 0; round < 100; ++round) {
        std::vector<pid_t> children;
        if (!read_children(children)) {
            return ended;
        }
        bool found = false;
        for (const pid_t pid : children) {
            if (std::find(not_ours.begin(), not_ours.end(), pid) != not_ours.end()) {
                continue;
            }
            (void)::kill(pid, SIGKILL);
            while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
            }
            found = true;
            ++ended;
        }
        if (!found) {
            return ended;
        }
    }
    return ended;
}

void end_group(int group) { (void)::kill(-group, SIGKILL); }

} // namespace memreeve::prim
