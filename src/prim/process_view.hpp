// SPDX-License-Identifier: MIT
// prim, continued: what the bridge asks about its own process, and the calls it passes on for it.
// The rules of prim.hpp hold.
#pragma once

#include "base/units.hpp"

#include <cstddef>

namespace memreeve::prim {

// setuid, setgid or capabilities gained at exec (AT_SECURE).
bool is_privileged() noexcept;
// Characters put into `out` (not terminated), negative errno on failure.
long read_link(const char* path, char* out, std::size_t size) noexcept;
// Does a process with this id exist? (0, ESRCH; EPERM counts as existing)
bool process_exists(int pid) noexcept;
// For looking into a file that may be executed; never waits (a FIFO has no writer).
long open_program(const char* path) noexcept;
// May this process execute the file? (By its real ids, as access() asks.)
bool may_execute(const char* path) noexcept;
bool file_exists(const char* path) noexcept;
// Neither a directory nor a device, pipe or socket; links are followed, nothing is opened.
bool is_regular_file(const char* path) noexcept;
// On how many processors this process may run (sched_getaffinity); at least 1.
unsigned usable_processors() noexcept;
// The file changes the user or group at exec, and they are not this process's already.
bool changes_identity(int fd) noexcept;
// On an alternate signal stack, or with a signal blocked as a handler's own is (SIGQUIT aside, which
// HotSpot's threads block for good). False in a handler with SA_NODEFER on the thread's own stack.
bool may_be_in_signal_handler() noexcept;
// Of the calling thread, as PR_SET_NAME gave it: at most 15 characters and a zero.
inline constexpr std::size_t thread_name_size = 16;
void read_thread_name(char (&out)[thread_name_size]) noexcept;
// RLIMIT_AS in bytes; all ones without a limit.
byte_count address_space_limit() noexcept;
long pass_pkey_mprotect(address where, byte_count size, int prot, int key) noexcept;
// Contents made present (MADV_POPULATE_WRITE, or read where it is not writable). Best effort.
void populate(address where, byte_count size) noexcept;
int lock_in_memory(address where, byte_count size) noexcept;
// What lies at `from`, where there may be no memory: 0, EFAULT, or the errno of a system that does not
// allow to ask.
int peek(address from, void* to, byte_count size) noexcept;
// Ends the process as abort() does: by SIGABRT, its handler first.
[[noreturn]] void end_by_abort() noexcept;
long pass_execve(const char* path, char* const* arguments, char* const* environment) noexcept;
long pass_execveat(int fd, const char* path, char* const* arguments, char* const* environment,
                   int flags) noexcept;

} // namespace memreeve::prim
