// SPDX-License-Identifier: MIT
// Memory the program gets from the kernel itself: passed on, recorded, and charged where it is
// private heap in all but name (decision 23). The kernel's results; errno is left alone.
#pragma once

#include "base/units.hpp"
#include "bridge/state.hpp"

namespace memreeve::bridge {

// Anonymous, private and without a wish that only the kernel can grant: the interface serves it.
bool is_plain_anonymous(int flags, int prot) noexcept;

// `part.begin` is the address or hint (0: none).
long map_acquired(state& s, range part, int prot, int flags, int fd, std::int64_t offset,
                  telemetry::owner_kind kind) noexcept;
long unmap_acquired(state& s, range part) noexcept;
long protect_acquired(state& s, range part, int prot) noexcept;
long remap_acquired(state& s, address where, byte_count old_size, byte_count new_size, int flags,
                    address to) noexcept;

} // namespace memreeve::bridge
