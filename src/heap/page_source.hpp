// SPDX-License-Identifier: MIT
// What the heap needs from below: pages already charged to its owner, and a way back. The heap does
// not know where they come from (manager composes), and so heap pages are charged like all others.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"

namespace memreeve::heap {

class page_source {
public:
    // Zeroed, read-write (execute too when asked), 64 KiB aligned, its own reservation; `size` is
    // rounded up to pages. `tag` is any non-zero word, found again by tag_of.
    // Errors: over_budget, out_of_address_space, forbidden (policy against write + execute).
    virtual result<address> take(byte_count size, bool executable, criticality level,
                                 std::uint64_t tag) noexcept = 0;
    // Gives back a whole range got from take(). Never fails outwardly.
    virtual void give_back(address begin) noexcept = 0;
    // The tag of the taken range that contains `where` and, in `begin`, its start; 0 when `where`
    // lies in none. Lock-free; any address may be asked.
    virtual std::uint64_t tag_of(address where, address* begin) noexcept = 0;

protected:
    ~page_source() = default;
};

} // namespace memreeve::heap
