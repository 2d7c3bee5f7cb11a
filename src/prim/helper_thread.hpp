// SPDX-License-Identifier: MIT
// prim, continued: a thread of memreeve's own inside a foreign program. The rules of prim.hpp hold.
#pragma once

#include "base/units.hpp"

#include <cstdint>

namespace memreeve::prim {

// What it runs; stays where it is until the thread has ended.
struct helper {
    void (*run)(void*) = nullptr;
    void* argument = nullptr;
    const char* name = ""; // as /proc/PID/task/TID/comm shows it, 15 characters
};

// Detached, with a stack of that size, all signals blocked but libc's own and those of faults. 0 or
// errno. Uses pthread_create: not from the memory path.
int start_helper(const helper& h, byte_count stack) noexcept;

// The calling thread's, as comm shows it, with its NUL. 0 or errno.
int own_thread_name(char (&out)[16]) noexcept;

// Where the handler of that signal lies; 0 for default and ignored.
address handler_of(int signal) noexcept;
// From now on this thread takes that signal.
void open_signal(int signal) noexcept;

} // namespace memreeve::prim
