// SPDX-License-Identifier: MIT
// What one page of a reservation is: four bits, kept in the leaf of the region map.
//
//   code                win32 state   notes
//   ------------------  ------------  ---------------------------------------------------------------
//   outside             -             no page of a reservation (tail of the last granule)
//   reserved            RESERVE       never committed, or decommitted: one region (rule Q8)
//   dead                RESERVE       given back by a partial munmap; revived by MAP_FIXED
//   reserved_writable   RESERVE       decommitted, but the kernel would not hold it as the reservation
//                                     is held; contents dropped, the next commit or release does all.
//                                     Or warm: contents kept behind no access (space_supply_warm.cpp)
//   noaccess ... rwx    COMMIT        PAGE_EXECUTE reads too on x86-64 (rule G1)
//   guard_*             COMMIT        base protection with PAGE_GUARD armed (rules G2, Q9)
//   replaced            COMMIT        not ours: a file mapping that the program put over our page
//
// How the kernel holds it depends on the reservation, which is plain or guarded for life
// (reservation_flag guarded_space). "Marker": MADV_GUARD_INSTALL, an access faults whatever the mapping
// allows, and no mapping is split.
//
//   code                plain: mapping           guarded: mapping                  writable / slack
//   ------------------  -----------------------  --------------------------------  ----------------
//   reserved, dead      none                     read-write, marker                guarded / guarded
//   reserved_writable   read-write, empty        not writable; marker or no access plain / plain
//   noaccess, guard_*   none, contents kept      the same                          no / no
//   r, x, rx            as named                 the same                          no / no
//   rw, rwx             as named                 the same                          yes / no
//
// A relaxed reservation is held as a guarded one, but without markers: what is reserved can be touched,
// which its owner has chosen.
// "Writable" pages lie in the kernel's private writable mappings, "slack" are those of them that
// nobody may use (decision 1).
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
// What the program may do with a page in this state.
constexpr access use_of(page_code c) noexcept {
    switch (c) {
    case page_code::r: return access::read;
    case page_code::rw: return access::read_write;
    case page_code::x:
    case page_code::rx: return access::read_execute;
    case page_code::rwx: return access::read_write_execute;
    default: return access::none;
    }
}
// The access of the kernel's mapping of it.
constexpr access kernel_access(page_code c, bool guarded) noexcept {
    const bool is_open = guarded ? c == page_code::reserved || c == page_code::dead
                                 : c == page_code::reserved_writable;
    return is_open ? access::read_write : use_of(c);
}
// Counts in the kernel's private writable mappings.
constexpr bool is_kernel_writable(page_code c, bool guarded) noexcept {
    return allows(kernel_access(c, guarded), access::write);
}
constexpr bool is_slack(page_code c, bool guarded) noexcept {
    return is_reserved(c) && is_kernel_writable(c, guarded);
}

} // namespace memreeve::vm
