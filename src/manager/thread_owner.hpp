// SPDX-License-Identifier: MIT
// Charging what one thread asks for to another owner for a while. A small stack per thread in
// initial-exec thread-local storage (decision 20: nothing is allocated). Async-signal-safe.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"

namespace memreeve::manager {

class manager;

inline constexpr unsigned thread_owner_depth = 8;

// busy:  thread_owner_depth owners are pushed already.
result<void> push_thread_owner(const manager& m, owner_id who) noexcept;
// invalid_argument when nothing is pushed.
result<void> pop_thread_owner() noexcept;
// The owner pushed last for this manager on this thread, else `otherwise`.
owner_id thread_owner(const manager& m, owner_id otherwise) noexcept;

} // namespace memreeve::manager
