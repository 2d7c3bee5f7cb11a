// SPDX-License-Identifier: MIT
// What one page of a reservation is: four bits, kept in the leaf of the region map.
//
//   code                win32 state   kernel access   notes
//   ------------------  ------------  --------------  ------------------------------------------------
//   outside             -             -               no page of a reservation (tail of the last granule)
//   reserved            RESERVE       none            never committed, or decommitted: one region (rule Q8)
//   dead                RESERVE       none            given back by a partial munmap; revived by MAP_FIXED
//   reserved_writable   RESERVE       read-write      decommitted, but the kernel refused to take the access
//                                                     away (mapping limit): contents dropped, mprotect owed;
//                                                     "slack" of the owner
//   noaccess ... rwx    COMMIT        as named        PAGE_EXECUTE reads too on x86-64 (rule G1)
//   guard_*             COMMIT        none            base protection with PAGE_GUARD armed (rules G2, Q9)
//   replaced            COMMIT        not ours        a file mapping that the program put over our page
//
// Row in full: `guard_rw` is a committed page with PAGE_READWRITE|PAGE_GUARD. The kernel holds it
// inaccessible; the first access clears the guard (mrv_handle_fault) and the code becomes `rw`.
// PAGE_NOCACHE and PAGE_WRITECOMBINE belong to the reservation, not to the page (rule P6).
#pragma once

#include "base/access.hpp"

#include <cstdint>

namespace memreeve::vm {

enum class page_code : std::uint8_t {
    outside = 0,
    reserved = 1,
    dead = 2,
    reserved_writable = 3,
    noaccess = 4,
    r = 5,
    rw = 6,
    x = 7,
    rx = 8,
    rwx = 9,
    guard_r = 10,
    guard_rw = 11,
    guard_x = 12,
    guard_rx = 13,
    guard_rwx = 14,
    replaced = 15,
};

constexpr bool is_committed(page_code c) noexcept { return c >= page_code::noaccess; }
constexpr bool is_charged(page_code c) noexcept {
    return c >= page_code::noaccess && c != page_code::replaced;
}
constexpr bool is_guarded(page_code c) noexcept {
    return c >= page_code::guard_r && c <= page_code::guard_rwx;
}
constexpr bool is_reserved(page_code c) noexcept {
    return c >= page_code::reserved && c <= page_code::reserved_writable;
}
constexpr page_code without_guard(page_code c) noexcept {
    return is_guarded(c) ? static_cast<page_code>(static_cast<int>(c) - 5) : c;
}
// The access the kernel must hold for a page in this state.
constexpr access kernel_access(page_code c) noexcept {
    switch (c) {
    case page_code::r: return access::read;
    case page_code::rw:
    case page_code::reserved_writable: return access::read_write;
    case page_code::x:
    case page_code::rx: return access::read_execute;
    case page_code::rwx: return access::read_write_execute;
    default: return access::none;
    }
}
// Counts in the kernel's private writable mappings.
constexpr bool is_kernel_writable(page_code c) noexcept {
    return c == page_code::rw || c == page_code::rwx || c == page_code::reserved_writable;
}

} // namespace memreeve::vm
