// SPDX-License-Identifier: MIT
// prim, continued: descriptors on which the kernel or a service manager says that memory is short.
// The rules of prim.hpp hold. Nothing here waits but
// await_watched.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memreeve::prim {

enum class watched_kind : unsigned char {
    pressure_file, // PSI, of procfs or a control group: urgent (POLLPRI) is the notice
    fifo,          // readable is the notice
    socket,        // AF_UNIX stream, connected: readable is the notice
};

// Which file is open, so that a number that the program closed and used again is not taken for ours.
struct watched {
    int fd = -1;
    watched_kind kind = watched_kind::pressure_file;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
};

// 0 or errno; ENOTSUP where the path is nothing of that kind (a regular file of another file system,
// a directory, a device): it has not been written to then.
int open_watched(const char* path, watched* out) noexcept;
bool is_still(const watched& w) noexcept;
// Closes it if the descriptor still is that file. `w` is none afterwards.
void close_watched(watched& w) noexcept;
// All of it in one write, or the errno (EIO for a part). Raises no SIGPIPE.
int tell_watched(const watched& w, const void* data, std::size_t size) noexcept;
// Bytes that were there, 0 at the end of a stream, negative errno (EAGAIN: nothing there now).
long read_watched(const watched& w, void* buffer, std::size_t size) noexcept;

struct readiness {
    bool is_told = false;   // the notice of its kind
    bool has_ended = false; // the group is gone, the other side has closed, or it is not open
};
readiness poll_watched(const watched& w) noexcept;
// The same after at most so long.
readiness await_watched(const watched& w, std::uint64_t timeout_ns) noexcept;

// A variable of this process's environment; null when unset, empty, or when the process is
// privileged (AT_SECURE). Valid until the program changes it.
const char* inherited_variable(const char* name) noexcept;

} // namespace memreeve::prim
