// SPDX-License-Identifier: MIT
// prim, continued: a handler of SIGSEGV that passes on what is not its own. For embedders that ask
// for it (decision 8); the bridge never does.
#pragma once

#include "base/access.hpp"
#include "base/units.hpp"

namespace memreeve::prim {

struct memory_fault {
    address where = 0; // the exact byte, or the page where the machine says no more
    unsigned kind =
        0; // 0 read, 1 write, 8 execute (ExceptionInformation[0]); 0 where it is not said
    access tried = access::none; // the same; none where it is not said
    bool is_fault = false;       // raised by an access of this thread, not sent by somebody
};
// `info` is a siginfo_t, `context` a ucontext_t or null. Async-signal-safe.
memory_fault fault_of(const void* info, const void* context) noexcept;

// True: dealt with, the access is tried again.
using fault_handler = bool (*)(const void* info, void* context) noexcept;
// From now on `deal` sees every SIGSEGV of the process first, on the thread's alternate signal stack if
// it has one; what it answers false to goes to the handler found installed. Called again, it comes
// first again: before whoever installed a handler meanwhile, and a chain that leads back to us goes on
// to what was there at first. Serialised by the caller. 0 or errno; ENOSPC after 32 handlers.
int put_fault_handler_first(fault_handler deal) noexcept;
// Puts back what was found, if ours is still the one installed; else ours stays in the chain of whoever
// remembers it, and passes everything on.
int remove_fault_handler() noexcept;

} // namespace memreeve::prim
