// SPDX-License-Identifier: MIT
#include "program_run.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>

extern char** environ;

namespace memreeve::bench {

namespace {

double now_s() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

double seconds_of(const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> out;
    for (const std::string& w : words) {
        out.push_back(const_cast<char*>(w.c_str()));
    }
    out.push_back(nullptr);
    return out;
}

std::string contents(int fd) {
    std::string text;
    char buffer[4096];
    lseek(fd, 0, SEEK_SET);
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
}

// False: still running after that time.
bool has_ended_within(pid_t pid, int seconds) {
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) {
        return true; // cannot be watched; whoever waits waits without a limit
    }
    pollfd p{fd, POLLIN, 0};
    int r = 0;
    do {
        r = poll(&p, 1, seconds * 1000);
    } while (r < 0 && errno == EINTR);
    close(fd);
    return r != 0;
}

} // namespace

program_run run_program(const std::vector<std::string>& words,
                        const std::vector<std::string>& extra, int seconds) {
    program_run run;
    const int out = memfd_create("output", MFD_CLOEXEC);
    if (out < 0) {
        run.why = std::string("memfd_create: ") + std::strerror(errno);
        return run;
    }
    std::vector<std::string> variables;
    for (char** v = environ; *v != nullptr; ++v) {
        variables.emplace_back(*v);
    }
    variables.insert(variables.end(), extra.begin(), extra.end());

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    pid_t pid = -1;
    const double begin = now_s();
    const int e = posix_spawnp(&pid, words.front().c_str(), &actions, &attributes,
                               pointers(words).data(), pointers(variables).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (e != 0) {
        close(out);
        run.why = words.front() + ": " + std::strerror(e);
        return run;
    }
    const bool ended = has_ended_within(pid, seconds);
    if (!ended) {
        kill(-pid, SIGKILL);
    }
    int status = 0;
    rusage used{};
    while (wait4(pid, &status, 0, &used) < 0 && errno == EINTR) {
    }
    run.wall_s = now_s() - begin;
    run.cpu_s = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
    run.peak_rss_mib = static_cast<double>(used.ru_maxrss) / 1024;
    run.output = contents(out);
    close(out);
    run.ok = ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!ended) {
        run.why = "did not end within " + std::to_string(seconds) + " s";
    } else if (!run.ok) {
        run.why = WIFSIGNALED(status) ? "ended by signal " + std::to_string(WTERMSIG(status))
                                      : "ended with status " + std::to_string(WEXITSTATUS(status));
    }
    return run;
}

std::string find_program(const std::string& name) {
    const char* const path = std::getenv("PATH");
    const std::string folders = path != nullptr ? path : "/usr/bin:/bin";
    for (std::size_t at = 0; at <= folders.size();) {
        const std::size_t end = std::min(folders.find(':', at), folders.size());
        const std::string file = folders.substr(at, end - at) + "/" + name;
        if (access(file.c_str(), X_OK) == 0) {
            return file;
        }
        at = end + 1;
    }
    return {};
}

temporary_folder::temporary_folder() {
    const char* const where = std::getenv("TMPDIR");
    std::string name =
        std::string(where != nullptr && *where != 0 ? where : "/tmp") + "/memreeve-bench-XXXXXX";
    if (mkdtemp(name.data()) != nullptr) {
        path_ = name;
    }
}

temporary_folder::~temporary_folder() {
    if (!path_.empty()) {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
}

} // namespace memreeve::bench
