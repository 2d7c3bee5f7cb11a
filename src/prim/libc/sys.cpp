// SPDX-License-Identifier: MIT
// The back end of sanitizer builds.
#include "prim/libc/call.hpp"
#include "prim/prim.hpp"

namespace memreeve::prim {

long sys(long number, long a, long b, long c, long d, long e, long f) noexcept {
    return libc_call(number, a, b, c, d, e, f);
}

} // namespace memreeve::prim
