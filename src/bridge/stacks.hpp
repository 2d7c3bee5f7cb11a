// SPDX-License-Identifier: MIT
// Threads of a governed program (decision 25). libc supplies their stacks; we decide whether there
// is room for one more, and each thread notes at its start where its stack lies, so that a picture
// names it. What a stack holds is sampled and counts as `touched`, owner `stacks`.
//
// Not seen: threads by clone() and those that libc starts for itself (timers, asynchronous lookups).
// Their stacks are recognised by their guard.
#pragma once

#include "base/units.hpp"
#include "bridge/state.hpp"

namespace memreeve::bridge {

// What a new thread is to run: carried from its maker to its first steps.
struct thread_start {
    void* run = nullptr; // a function; only threads.cpp knows of which type
    void* argument = nullptr;
};

// False: charged and touched leave no room for what a thread needs at least, 64 KiB, below limit -
// reserve. Counted as a refusal of level task.
// Async-signal-safe.
bool may_start_thread(state& s) noexcept;

// Puts `start` where the new thread finds it; null when a thousand threads are on their way already
// (start it without). Whoever gets the pointer takes it once: the thread, or its maker when there
// will be none. Lock-free; what was on its way in the parent is free again in a child of fork.
thread_start* post(state& s, const thread_start& start) noexcept;
thread_start take(thread_start* posted) noexcept;

// By the thread itself, before anything of the program runs on it. `self`: its control block, at the
// top of a stack that libc supplied. errno is left alone.
void note_stack(state& s, const void* self) noexcept;

// Part of a stack that was noted, and of nothing that is recorded: what a runtime maps there (its
// own guard zones) stays the stack's. libc unmaps it unseen, so a record would never end.
bool lies_in_stack(state& s, range part) noexcept;

} // namespace memreeve::bridge
