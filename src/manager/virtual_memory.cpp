// SPDX-License-Identifier: MIT
// manager: the calls of Win32 that the hosting interface has no method for.
#include "manager/manager.hpp"
#include "manager/operation.hpp"
#include "vm/win32.hpp"

namespace memreeve::manager {

result<page_count> manager::written_pages(address where, byte_count size, bool reset, void** out,
                                          page_count most) noexcept {
    if (size == 0 || !fits_user_space(where, size)) {
        return errc::invalid_argument; // WW1, WW2
    }
    const operation inside(*this);
    return space_.written_pages(span_of(where, size), reset, out, most);
}

result<void> manager::reset_written_pages(address where, byte_count size) noexcept {
    const auto r = written_pages(where, size, true, nullptr, ~page_count{0});
    return r ? result<void>{} : r.error();
}

// ---- locked pages (L) ---------------------------------------------------------------------------------

result<void> manager::virtual_lock(address where, byte_count size) noexcept {
    if (size == 0 || !fits_user_space(where, size)) {
        return errc::invalid_argument; // L1
    }
    const range span = span_of(where, size);
    for (address a = span.begin; a < span.end;) {
        const auto region = virtual_query(a);
        if (!region) {
            return region.error();
        }
        if ((region->protect & vm::win32::page_guard) != 0) {
            static_cast<void>(handle_fault(a)); // L2: looking at it is an access
            return errc::no_access;
        }
        if (region->state != vm::win32::mem_commit ||
            (region->protect & vm::win32::page_noaccess) != 0) {
            return errc::no_access;
        }
        a = region->base + region->size;
    }
    const operation inside(*this);
    return space_.lock_in_memory(span);
}

result<void> manager::virtual_unlock(address where, byte_count size) noexcept {
    if (size == 0 || !fits_user_space(where, size)) {
        return errc::invalid_argument; // L1
    }
    const operation inside(*this);
    return space_.unlock_from_memory(span_of(where, size));
}

// ---- placeholders (PH) ------------------------------------------------------------------------------

result<address> manager::virtual_alloc2(owner_id who, address where, byte_count size,
                                        std::uint32_t type, std::uint32_t protect,
                                        criticality level) noexcept {
    const auto q = vm::decode_alloc2(where, size, type, protect);
    return q ? carry_out(*q, who, level) : q.error();
}

result<void> manager::change_placeholder(const vm::free_request& q) noexcept {
    vm::planned p;
    result<void> plan{};
    switch (q.change) {
    case vm::placeholder_change::preserve: plan = space_.plan_preserve(q.span, p); break;
    case vm::placeholder_change::coalesce: plan = space_.plan_coalesce(q.span, p); break;
    case vm::placeholder_change::none: plan = space_.plan_release_piece(q.where, p); break;
    }
    if (!plan) {
        return plan;
    }
    if (auto r = carry_out(p, criticality::process); !r) {
        return r;
    }
    vm::planned last;
    if (space_.plan_release_area(q.where, last)) {
        static_cast<void>(carry_out(last, criticality::process));
    }
    return {};
}

// Q5: to the next VAD, also past the end of the area.
result<region_info> manager::query_vacant(const vm::found& f) noexcept {
    region_info r;
    r.base = f.at;
    r.size = f.whole.end - f.at;
    r.state = vm::win32::mem_free;
    r.protect = vm::win32::page_noaccess;
    if (f.whole.end < top_address) {
        const auto next = virtual_query(f.whole.end);
        if (next && next->state == vm::win32::mem_free) {
            r.size += next->size;
        }
    }
    return r;
}

} // namespace memreeve::manager
