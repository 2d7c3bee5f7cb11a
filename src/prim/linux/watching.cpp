// SPDX-License-Identifier: MIT
#include "prim/watching.hpp"

#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <time.h>

extern "C" char** environ;

namespace memreeve::prim {

namespace {

long number(const void* p) noexcept { return reinterpret_cast<long>(p); }

int look_at(int fd, struct stat& about) noexcept {
    return static_cast<int>(-sys(SYS_newfstatat, fd, number(""), number(&about), AT_EMPTY_PATH));
}

// A file of another file system may be anybody's data: writing a trigger there would destroy it.
bool is_of_the_kernel(int fd) noexcept {
    struct statfs about {};
    if (sys(SYS_fstatfs, fd, number(&about)) != 0) {
        return false;
    }
    const auto type = static_cast<unsigned long>(about.f_type);
    return type == PROC_SUPER_MAGIC || type == CGROUP2_SUPER_MAGIC;
}

long connect_stream(const char* path) noexcept {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::size_t size = 0;
    for (; path[size] != '\0'; ++size) {
        if (size + 1 >= sizeof to.sun_path) {
            return -ENAMETOOLONG;
        }
        to.sun_path[size] = path[size];
    }
    const long fd = sys(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fd;
    }
    const long r = sys(SYS_connect, fd, number(&to), sizeof to);
    if (r < 0) {
        (void)close(static_cast<int>(fd));
        return r;
    }
    return fd;
}

} // namespace

int open_watched(const char* path, watched* out) noexcept {
    constexpr int flags = O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    // Read-write: a FIFO then has a writer always and never reports its end.
    long fd = sys(SYS_openat, AT_FDCWD, number(path), O_RDWR | flags, 0);
    if (fd == -EACCES) {
        fd = sys(SYS_openat, AT_FDCWD, number(path), O_RDONLY | flags, 0);
    }
    watched w;
    if (fd == -ENXIO) {
        fd = connect_stream(path);
        w.kind = watched_kind::socket;
    }
    if (fd < 0) {
        return static_cast<int>(-fd);
    }
    w.fd = static_cast<int>(fd);
    struct stat about {};
    bool is_usable = look_at(w.fd, about) == 0;
    if (S_ISFIFO(about.st_mode)) {
        w.kind = watched_kind::fifo;
    } else if (S_ISREG(about.st_mode)) {
        is_usable = is_usable && is_of_the_kernel(w.fd);
    } else {
        is_usable = is_usable && S_ISSOCK(about.st_mode);
    }
    if (!is_usable) {
        (void)close(w.fd);
        return ENOTSUP;
    }
    w.device = about.st_dev;
    w.inode = about.st_ino;
    *out = w;
    return 0;
}

bool is_still(const watched& w) noexcept {
    struct stat about {};
    const int e = w.fd >= 0 ? look_at(w.fd, about) : EBADF;
    // Where the kernel does not answer, nothing says that it was closed.
    return e == 0 ? about.st_dev == w.device && about.st_ino == w.inode : e != EBADF;
}

void close_watched(watched& w) noexcept {
    if (is_still(w)) {
        (void)close(w.fd);
    }
    w = {};
}

int tell_watched(const watched& w, const void* data, std::size_t size) noexcept {
    const long n = w.kind == watched_kind::socket
                       ? sys(SYS_sendto, w.fd, number(data), static_cast<long>(size), MSG_NOSIGNAL)
                       : write(w.fd, data, size);
    if (n < 0) {
        return static_cast<int>(-n);
    }
    return static_cast<std::size_t>(n) == size ? 0 : EIO;
}

long read_watched(const watched& w, void* buffer, std::size_t size) noexcept {
    return is_still(w) ? read(w.fd, buffer, size) : -EBADF;
}

readiness poll_watched(const watched& w) noexcept { return await_watched(w, 0); }

readiness await_watched(const watched& w, std::uint64_t timeout_ns) noexcept {
    pollfd one{};
    one.fd = w.fd;
    one.events = w.kind == watched_kind::pressure_file ? POLLPRI : POLLIN;
    timespec patience{};
    patience.tv_sec = static_cast<time_t>(timeout_ns / 1000000000u);
    patience.tv_nsec = static_cast<long>(timeout_ns % 1000000000u);
    if (w.fd < 0 || sys(SYS_ppoll, number(&one), 1, number(&patience), 0, 0) < 0) {
        return {false, w.fd < 0};
    }
    readiness r;
    r.has_ended = (one.revents & (POLLERR | POLLNVAL)) != 0 ||
                  ((one.revents & POLLHUP) != 0 && (one.revents & POLLIN) == 0);
    r.is_told = !r.has_ended && (one.revents & one.events) != 0;
    return r;
}

const char* inherited_variable(const char* name) noexcept {
    if (environ == nullptr || is_privileged()) {
        return nullptr;
    }
    for (char** at = environ; *at != nullptr; ++at) {
        const char* text = *at;
        const char* wanted = name;
        while (*wanted != '\0' && *text == *wanted) {
            ++text;
            ++wanted;
        }
        if (*wanted == '\0' && *text == '=') {
            return text[1] != '\0' ? text + 1 : nullptr;
        }
    }
    return nullptr;
}

} // namespace memreeve::prim
