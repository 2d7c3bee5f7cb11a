// SPDX-License-Identifier: MIT
// The process work of `memreeve run`: start a program, watch it and its descendants, pass signals
// on, look into /proc. Only the command line links it; it uses libc freely.
//
// Functions report, they do not decide: 0 or an errno value, or a count or descriptor with a
// negative errno. Descriptors are close-on-exec. Nothing here is thread-safe unless it says so.
#pragma once

#include "prim/prim.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace memreeve::prim {

// ---- files ------------------------------------------------------------------------------------
struct file_facts {
    bool is_regular = false;
    bool is_directory = false;
    bool is_executable = false; // by this user
    bool is_setuid = false;
    bool is_setgid = false;
    bool has_capabilities = false; // security.capability
    bool forbids_programs = false; // its file system is mounted noexec
    std::uint64_t size = 0;
};
int examine_file(const std::string& path, file_facts& out);
// Up to `most` bytes from `offset`; shorter at the end of the file.
int read_file_part(const std::string& path, std::uint64_t offset, std::size_t most,
                   std::string& out);
int read_whole_file(const std::string& path, std::string& out); // /proc files too
int read_link(const std::string& path, std::string& out);
// Opens for writing without truncating; `created` tells whether it was made now.
long open_for_writing(const std::string& path, bool& created);
// Replaces the contents of an open file and closes it.
int write_and_close(int fd, std::string_view text);
int remove_file(const std::string& path);
// Locks an open file against others who ask; EWOULDBLOCK: somebody has it. Ends with the descriptor.
int lock_file(int fd);

// Standard streams that this process was started without become descriptors that can neither be read nor
// written, and are closed to what it starts: else what it opens next would have their numbers, and what
// it says would be written there. First of all.
void hold_standard_streams();

// ---- environment ------------------------------------------------------------------------------
std::vector<std::string> environment();
// Value of a variable, null when unset or when this process is privileged (AT_SECURE).
const char* trusted_variable(const char* name);
bool is_terminal(int fd);
std::uint64_t machine_memory();  // bytes of RAM, 0 when unknown
std::uint64_t file_size_limit(); // ulimit -f in bytes, the largest number when there is none

// ---- starting ---------------------------------------------------------------------------------
struct started {
    int pid = 0;
    int pidfd = -1;
};
// SIGINT and SIGQUIT (the terminal sends them to the program too), SIGTERM, SIGHUP, SIGUSR1 and
// SIGUSR2 are from now on taken by next_signal(), SIGPIPE by nobody. Call before start_program.
class signal_desk {
public:
    signal_desk();
    ~signal_desk();
    signal_desk(const signal_desk&) = delete;
    signal_desk& operator=(const signal_desk&) = delete;
    int descriptor() const { return fd_; }
    // The next one that came in, 0 when none. `from_kernel`: sent by the terminal, not by kill().
    int next_signal(bool& from_kernel);

private:
    int fd_ = -1;
};
// Where a started program differs from this process.
struct apart {
    int in = -1; // descriptors for its standard streams; -1: this process's own
    int out = -1;
    int err = -1;
    bool in_own_session = false; // and so its own process group, with its pid for a number
    bool ends_with_us = false;   // SIGTERM when the thread that started it ends
};
// Starts `file` with this process's original signal mask. The result is exec's errno, or fork's.
// A file the kernel does not know (ENOEXEC) is not handed to a shell.
int start_program(const std::string& file, const std::vector<std::string>& arguments,
                  const std::vector<std::string>& variables, started& out,
                  const apart& differs = {});

// ---- watching ---------------------------------------------------------------------------------
long open_process(int pid); // pidfd; -ESRCH when it has ended
int send_signal(int pidfd, int signal);
struct ending {
    bool has_ended = false;
    int code = 0;   // exit status
    int signal = 0; // 0: none
};
int reap(int pid, int pidfd, ending& out); // does not wait
// Process 1 inherits the children of those that have ended: without this they stay zombies. Ends those
// that have ended, but for `except`, whose end is reap()'s. Nothing in any other process.
void reap_inherited(int except);

// Waits until one of the descriptors is readable; ready[i] tells of descriptors[i].
// `timeout_ms` < 0: for ever. EINTR is reported.
int wait_readable(const std::vector<int>& descriptors, int timeout_ms, std::vector<bool>& ready);

int make_pipe(long (&ends)[2]); // reading, writing
long make_event();              // eventfd, thread-safe to ring
void ring_event(int fd);
void clear_event(int fd);

// ---- looking into a process -------------------------------------------------------------------
// One word of another process's memory.
bool read_process_word(int pid, std::uint64_t at, std::uint64_t& out);
// Pages present in [begin, end) of another process, from its open /proc/PID/pagemap.
bool count_present_pages(int pagemap, std::uint64_t begin, std::uint64_t end, std::uint64_t& out);

// Feeds a file in chunks to `take`. False when it could not be opened or read.
template <class Take>
bool pump_file(const char* path, Take take) {
    const long fd = open_read(path);
    if (fd < 0) {
        return false;
    }
    static thread_local char buffer[1 << 16];
    long n = 0;
    while ((n = read(static_cast<int>(fd), buffer, sizeof buffer)) > 0) {
        take(buffer, static_cast<std::size_t>(n));
    }
    (void)close(static_cast<int>(fd));
    return n == 0;
}

} // namespace memreeve::prim
