// SPDX-License-Identifier: MIT
#include "pressure/load.hpp"

#include <algorithm>

namespace memreeve::pressure {

namespace {

// part * scale / whole without overflow for any part <= whole; rounded up when asked.
unsigned share(byte_count part, byte_count whole, unsigned scale, bool up) noexcept {
    while (whole > (~byte_count{0} >> 11)) {
        whole >>= 1;
        part >>= 1;
    }
    const byte_count product = part * scale + (up ? whole - 1 : 0);
    return static_cast<unsigned>(std::min<byte_count>(product / whole, scale));
}

byte_count used_of(const room& r) noexcept { return r.total - std::min(r.available, r.total); }

} // namespace

load load_of(std::span<const room> rooms) noexcept {
    load result;
    for (const room& r : rooms) {
        if (!r.is_known()) {
            continue;
        }
        const byte_count available = std::min(r.available, r.total);
        const unsigned percent = share(used_of(r), r.total, 100, false);
        if (!result.is_known || available < result.available ||
            (available == result.available && percent > result.percent)) {
            result = {percent, available, true};
        }
    }
    return result;
}

unsigned permille_used(const room& r) noexcept {
    return r.is_known() ? share(used_of(r), r.total, 1000, true) : 0;
}

} // namespace memreeve::pressure
