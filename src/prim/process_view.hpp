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
// Contents made present (MADV_POPULATE_WRITE, or read where it is not writable). Best effort.
void populate(address where, byte_count size) noexcept;
int lock_in_memory(address where, byte_count size) noexcept;
long pass_execve(const char* path, char* const* arguments, char* const* environment) noexcept;
long pass_execveat(int fd, const char* path, char* const* arguments, char* const* environment,
                   int flags) noexcept;

} // namespace memreeve::prim
