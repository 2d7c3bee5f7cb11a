// SPDX-License-Identifier: MIT
#include "prim/linux/launch.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utility>

extern "C" char** environ; // NOLINT: libc's

namespace memreeve::prim {

namespace {

class descriptor {
public:
    explicit descriptor(int fd) : fd_(fd) {}
    ~descriptor() {
        if (fd_ >= 0) {
            (void)::close(fd_);
        }
    }
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

private:
    int fd_;
};

template <class Call>
auto retried(Call call) {
    auto r = call();
    while (r < 0 && errno == EINTR) {
        r = call();
    }
    return r;
}

constexpr std::array taken_signals = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

sigset_t taken_set() {
    sigset_t set;
    (void)sigemptyset(&set);
    for (const int s : taken_signals) {
        (void)sigaddset(&set, s);
    }
    return set;
}

// SIGPIPE is nobody's message: a launcher whose standard error is not read any more has a program to
// wait for, and its status and summary to tell. write() then fails with EPIPE.
sigset_t blocked_set() {
    sigset_t set = taken_set();
    (void)sigaddset(&set, SIGPIPE);
    return set;
}

sigset_t original_mask; // what the program starts with; set by signal_desk
bool mask_is_changed = false;

std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> out;
    out.reserve(words.size() + 1);
    for (const std::string& w : words) {
        out.push_back(const_cast<char*>(w.c_str()));
    }
    out.push_back(nullptr);
    return out;
}

} // namespace

// ---- files ------------------------------------------------------------------------------------

int examine_file(const std::string& path, file_facts& out) {
    struct stat s {};
    if (::stat(path.c_str(), &s) != 0) {
        return errno;
    }
    out.is_regular = S_ISREG(s.st_mode);
    out.is_directory = S_ISDIR(s.st_mode);
    out.is_setuid = (s.st_mode & S_ISUID) != 0;
    // Without group execution the bit means mandatory locking, not a change of group.
    out.is_setgid = (s.st_mode & S_ISGID) != 0 && (s.st_mode & S_IXGRP) != 0;
    out.size = static_cast<std::uint64_t>(s.st_size);
    out.is_executable = ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
    out.has_capabilities = ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
    struct statvfs mount {};
    out.forbids_programs = ::statvfs(path.c_str(), &mount) == 0 && (mount.f_flag & ST_NOEXEC) != 0;
    return 0;
}

int read_file_part(const std::string& path, std::uint64_t offset, std::size_t most,
                   std::string& out) {
    const descriptor fd(
        retried([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
    if (fd.get() < 0) {
        return errno;
    }
    // What a damaged file says of itself is no reason to take memory. (/proc's files have no size.)
    struct stat s {};
    if (::fstat(fd.get(), &s) == 0 && S_ISREG(s.st_mode) && s.st_size > 0) {
        const auto size = static_cast<std::uint64_t>(s.st_size);
        most = std::min<std::uint64_t>(most, size - std::min(offset, size));
    }
    out.resize(most);
    std::size_t have = 0;
    while (have < most) {
        const auto n = retried([&] {
            return ::pread(fd.get(), out.data() + have, most - have,
                           static_cast<off_t>(offset + have));
        });
        if (n < 0) {
            return errno;
        }
        if (n == 0) {
            break;
        }
        have += static_cast<std::size_t>(n);
    }
    out.resize(have);
    return 0;
}

int read_whole_file(const std::string& path, std::string& out) {
    const descriptor fd(retried([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
    if (fd.get() < 0) {
        return errno;
    }
    out.clear();
    std::array<char, 8192> buffer{};
    for (;;) {
        const auto n = retried([&] { return ::read(fd.get(), buffer.data(), buffer.size()); });
        if (n < 0) {
            return errno;
        }
        if (n == 0) {
            return 0;
        }
        out.append(buffer.data(), static_cast<std::size_t>(n));
    }
}

int read_link(const std::string& path, std::string& out) {
    std::array<char, 4096> buffer{};
    const auto n = ::readlink(path.c_str(), buffer.data(), buffer.size());
    if (n < 0) {
        return errno;
    }
    out.assign(buffer.data(), static_cast<std::size_t>(n));
    return 0;
}

long open_for_writing(const std::string& path, bool& created) {
    created = false;
    int fd = retried([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY); });
    if (fd < 0 && errno == ENOENT) {
        fd = retried(
            [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
        created = fd >= 0;
    }
    return fd < 0 ? -errno : fd;
}

int write_and_close(int fd, std::string_view text) {
    const descriptor file(fd);
    struct stat s {};
    if (::fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && ::ftruncate(fd, 0) != 0) {
        return errno;
    }
    while (!text.empty()) {
        const auto n = retried([&] { return ::write(fd, text.data(), text.size()); });
        if (n < 0) {
            return errno;
        }
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return 0;
}

int lock_file(int fd) {
    return retried([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) == 0 ? 0 : errno;
}

int remove_file(const std::string& path) { return ::unlink(path.c_str()) == 0 ? 0 : errno; }

void hold_standard_streams() {
    for (int fd = 0; fd <= 2; ++fd) {
        if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            (void)::open("/", O_PATH | O_CLOEXEC); // the lowest that is free: this one
        }
    }
}

// ---- environment ------------------------------------------------------------------------------

std::vector<std::string> environment() {
    std::vector<std::string> out;
    for (char** v = environ; v != nullptr && *v != nullptr; ++v) {
        out.emplace_back(*v);
    }
    return out;
}

const char* trusted_variable(const char* name) { return ::secure_getenv(name); }

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

std::uint64_t file_size_limit() {
    rlimit limit{};
    return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY
               ? limit.rlim_cur
               : ~std::uint64_t{0};
}

std::uint64_t machine_memory() {
    struct sysinfo s {};
    return ::sysinfo(&s) == 0 ? static_cast<std::uint64_t>(s.totalram) * s.mem_unit : 0;
}

// ---- starting ---------------------------------------------------------------------------------

signal_desk::signal_desk() {
    const sigset_t blocked = blocked_set();
    (void)::pthread_sigmask(SIG_BLOCK, &blocked, &original_mask);
    mask_is_changed = true;
    const sigset_t set = taken_set();
    fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

signal_desk::~signal_desk() {
    if (fd_ >= 0) {
        (void)::close(fd_);
    }
    // What is still pending is for a program that has ended.
    const sigset_t set = blocked_set();
    const timespec none{};
    while (::sigtimedwait(&set, nullptr, &none) > 0) {
    }
    (void)::pthread_sigmask(SIG_SETMASK, &original_mask, nullptr);
    mask_is_changed = false;
}

int signal_desk::next_signal(bool& from_kernel) {
    if (fd_ < 0) { // no signalfd to be had: asked for now and then
        const sigset_t set = taken_set();
        const timespec none{};
        siginfo_t pending{};
        const int signal = ::sigtimedwait(&set, &pending, &none);
        from_kernel = pending.si_code == SI_KERNEL;
        return signal > 0 ? signal : 0;
    }
    signalfd_siginfo info{};
    const auto n = retried([&] { return ::read(fd_, &info, sizeof info); });
    if (n != static_cast<ssize_t>(sizeof info)) {
        return 0;
    }
    from_kernel = info.ssi_code == SI_KERNEL;
    return static_cast<int>(info.ssi_signo);
}

int start_program(const std::string& file, const std::vector<std::string>& arguments,
                  const std::vector<std::string>& variables, started& out, const apart& differs) {
    const std::vector<char*> argv = pointers(arguments);
    const std::vector<char*> envp = pointers(variables);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    descriptor reading(ends[0]);
    descriptor writing(ends[1]);

    const pid_t pid = ::fork();
    if (pid < 0) {
        return errno;
    }
    if (pid == 0) {
        // The launcher changed no dispositions, only the mask.
        if (mask_is_changed) {
            (void)::pthread_sigmask(SIG_SETMASK, &original_mask, nullptr);
        }
        if (differs.in_own_session) {
            (void)::setsid();
        }
        if (differs.ends_with_us) {
            (void)::prctl(PR_SET_PDEATHSIG, SIGTERM);
        }
        const std::array<int, 3> streams = {differs.in, differs.out, differs.err};
        for (int to = 0; to < 3; ++to) {
            if (const int from = streams[static_cast<std::size_t>(to)]; from >= 0) {
                (void)::dup2(from, to);
            }
        }
        (void)::execve(file.c_str(), argv.data(), envp.data());
        const int why = errno;
        (void)!::write(ends[1], &why, sizeof why);
        ::_exit(127);
    }
    (void)::close(writing.release());
    int why = 0;
    const auto n = retried([&] { return ::read(reading.get(), &why, sizeof why); });
    if (n == static_cast<ssize_t>(sizeof why)) {
        int status = 0;
        (void)retried([&] { return ::waitpid(pid, &status, 0); });
        return why;
    }
    out.pid = pid;
    // Not reaped yet, so the pid is still its own.
    const long pidfd = open_process(pid);
    if (pidfd < 0) {
        (void)::kill(pid, SIGKILL);
        (void)retried([&] { return ::waitpid(pid, nullptr, 0); });
        return static_cast<int>(-pidfd);
    }
    out.pidfd = static_cast<int>(pidfd);
    return 0;
}

// ---- watching ---------------------------------------------------------------------------------

long open_process(int pid) {
    const long fd = ::syscall(SYS_pidfd_open, pid, 0); // close-on-exec by definition
    return fd < 0 ? -errno : fd;
}

int send_signal(int pidfd, int signal) {
    return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0 ? 0 : errno;
}

namespace {

// Where waitid is forbidden, or knows no pidfd (before Linux 5.4).
int reap_by_number(int pid, ending& out) {
    int status = 0;
    const auto ended = retried([&] { return ::waitpid(pid, &status, WNOHANG); });
    if (ended < 0) {
        return errno;
    }
    if (ended == pid) {
        out.has_ended = true;
        out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
        out.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    }
    return 0;
}

} // namespace

int reap(int pid, int pidfd, ending& out) {
    siginfo_t info{};
    const int r = retried([&] {
        return ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info,
                        WEXITED | WNOHANG);
    });
    if (r != 0) {
        return errno == ECHILD ? ECHILD : reap_by_number(pid, out);
    }
    if (info.si_pid == 0) {
        return 0;
    }
    out.has_ended = true;
    if (info.si_code == CLD_EXITED) {
        out.code = info.si_status;
    } else {
        out.signal = info.si_status;
    }
    return 0;
}

void reap_inherited(int except) {
    if (process_id() != 1) {
        return;
    }
    for (;;) {
        siginfo_t info{};
        if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0 ||
            info.si_pid == except) {
            return;
        }
        (void)::waitpid(info.si_pid, nullptr, WNOHANG);
    }
}

int wait_readable(const std::vector<int>& descriptors, int timeout_ms, std::vector<bool>& ready) {
    std::vector<pollfd> polled;
    polled.reserve(descriptors.size());
    for (const int fd : descriptors) {
        polled.push_back({fd, POLLIN, 0});
    }
    ready.assign(descriptors.size(), false);
    if (::poll(polled.data(), polled.size(), timeout_ms) < 0) {
        return errno;
    }
    for (std::size_t i = 0; i < polled.size(); ++i) {
        ready[i] = polled[i].revents != 0;
    }
    return 0;
}

int make_pipe(long (&ends)[2]) {
    int made[2];
    if (::pipe2(made, O_CLOEXEC) != 0) {
        return errno;
    }
    ends[0] = made[0];
    ends[1] = made[1];
    return 0;
}

long make_event() {
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

void ring_event(int fd) {
    const std::uint64_t one = 1;
    (void)!::write(fd, &one, sizeof one);
}

void clear_event(int fd) {
    std::uint64_t count = 0;
    (void)!::read(fd, &count, sizeof count);
}

// ---- looking into a process -------------------------------------------------------------------

bool read_process_word(int pid, std::uint64_t at, std::uint64_t& out) {
    iovec here{&out, sizeof out};
    iovec there{reinterpret_cast<void*>(at), sizeof out};
    return ::process_vm_readv(pid, &here, 1, &there, 1, 0) == static_cast<ssize_t>(sizeof out);
}

bool count_present_pages(int pagemap, std::uint64_t begin, std::uint64_t end, std::uint64_t& out) {
    constexpr std::uint64_t present = std::uint64_t{1} << 63;
    std::array<std::uint64_t, 512> entries{};
    out = 0;
    for (std::uint64_t page = begin / page_size; page < end / page_size;) {
        const std::uint64_t want = std::min<std::uint64_t>(entries.size(), end / page_size - page);
        const auto n = retried([&] {
            return ::pread(pagemap, entries.data(), want * sizeof entries[0],
                           static_cast<off_t>(page * sizeof entries[0]));
        });
        if (n <= 0) {
            return false;
        }
        const std::uint64_t got = static_cast<std::uint64_t>(n) / sizeof entries[0];
        for (std::uint64_t i = 0; i < got; ++i) {
            out += (entries[i] & present) != 0 ? 1u : 0u;
        }
        page += got;
        if (got < want) {
            return false;
        }
    }
    return true;
}

} // namespace memreeve::prim
