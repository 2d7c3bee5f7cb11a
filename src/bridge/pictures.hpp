// SPDX-License-Identifier: MIT
// A picture of this image in the ledger, taken by itself: at exit, and provisionally at exec. What
// the launcher samples from outside it takes itself.
#pragma once

#include "bridge/state.hpp"

namespace memreeve::bridge {

// Published when it could be taken; nothing happens in a child that shares its parent's memory, and
// when another thread is at it already.
void publish_picture(state& s) noexcept;
// The same for a process that ends now, by itself.
void publish_last_picture(state& s) noexcept;

} // namespace memreeve::bridge
