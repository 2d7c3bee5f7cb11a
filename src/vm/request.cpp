// SPDX-License-Identifier: MIT
#include "vm/request.hpp"

#include "vm/reservation.hpp"
#include "vm/win32.hpp"

namespace memreeve::vm {

using namespace win32;

namespace {

constexpr std::uint32_t alloc_bits = mem_commit | mem_reserve | mem_reset | mem_top_down |
                                     mem_write_watch | mem_physical | mem_reset_undo |
                                     mem_large_pages;

constexpr byte_count large_page = byte_count{2} << 20; // GetLargePageMinimum

// Rules A2 to A4: the type alone. `ask_privilege` is set when all that is missing is the right.
result<void> check_type(std::uint32_t type, std::uint32_t protect, bool& ask_privilege) noexcept {
    ask_privilege = false;
    if ((type & ~alloc_bits) != 0 ||
        (type & (mem_commit | mem_reserve | mem_reset | mem_reset_undo)) == 0) {
        return errc::invalid_argument;
    }
    for (const std::uint32_t alone : {mem_reset, mem_reset_undo}) {
        if ((type & alone) != 0 && type != alone) {
            return errc::invalid_argument;
        }
    }
    if ((type & mem_write_watch) != 0 && (type & mem_reserve) == 0) {
        return errc::invalid_argument; // A2
    }
    if ((type & mem_physical) != 0) {
        const bool shape = (type & ~mem_top_down) == (mem_reserve | mem_physical);
        if (!shape || protect != page_readwrite) {
            return errc::invalid_argument; // A3
        }
        ask_privilege = true;
    }
    if ((type & mem_large_pages) != 0) {
        if ((type & mem_commit) == 0 || (type & (mem_physical | mem_write_watch)) != 0) {
            return errc::invalid_argument; // A4
        }
    }
    return {};
}

} // namespace

result<alloc_request> decode_alloc(address where, byte_count size, std::uint32_t type,
                                   std::uint32_t protect) noexcept {
    if (where != 0 && where < lowest_address) {
        return errc::invalid_argument; // A1
    }
    bool ask_privilege = false;
    if (auto r = check_type(type, protect, ask_privilege); !r) {
        return r.error();
    }
    const auto p = decode_protection(protect);
    if (!p) {
        return p.error(); // A5
    }
    if (size == 0 || !fits_user_space(where, size)) {
        return errc::invalid_argument; // A6
    }
    alloc_request q;
    q.protect = *p;
    q.anywhere = where == 0;
    q.top_down = (type & mem_top_down) != 0;
    const bool reserves = (type & mem_reserve) != 0;
    q.flags = ((type & mem_write_watch) != 0 ? std::uint32_t{watched} : 0U) |
              ((type & mem_large_pages) != 0 ? std::uint32_t{large_pages} : 0U);
    if ((q.flags & large_pages) != 0 &&
        (!is_aligned(size, large_page) || !is_aligned(where, large_page))) {
        return errc::invalid_argument; // A4
    }
    if ((type & (mem_reset | mem_reset_undo)) != 0) {
        if (q.anywhere) {
            return errc::invalid_argument; // A17
        }
        q.kind = (type & mem_reset) != 0 ? alloc_kind::discard : alloc_kind::undo_discard;
        q.span = span_of(where, size);
        return q;
    }
    if ((q.anywhere || reserves) && p->is_write_copy) {
        return errc::invalid_argument; // A7
    }
    if (ask_privilege) {
        return errc::privilege_not_held; // A3, decision 7
    }
    if (q.anywhere) {
        q.kind = (type & mem_commit) != 0 ? alloc_kind::reserve_commit : alloc_kind::reserve; // A9
        q.span = {0, round_up(size, page_size)};
    } else if (reserves) {
        q.kind = (type & mem_commit) != 0 ? alloc_kind::reserve_commit : alloc_kind::reserve;
        q.span = {round_down(where, granule_size), round_up(where + size, page_size)}; // A8
    } else {
        q.kind = alloc_kind::commit;
        q.span = span_of(where, size); // A11
    }
    return q;
}

result<alloc_request> decode_alloc2(address where, byte_count size, std::uint32_t type,
                                    std::uint32_t protect) noexcept {
    constexpr std::uint32_t bits = mem_reserve_placeholder | mem_replace_placeholder;
    if ((type & bits) == 0) {
        return decode_alloc(where, size, type, protect);
    }
    const std::uint32_t rest = type & ~bits;
    if ((type & bits) == mem_reserve_placeholder) {
        if ((rest & ~mem_top_down) != mem_reserve || protect != page_noaccess) {
            return errc::invalid_argument; // PH1
        }
        const auto plain = decode_alloc(where, size, rest, protect);
        if (!plain) {
            return plain.error();
        }
        alloc_request q = *plain;
        q.flags |= placeholder;
        return q;
    }
    const bool commits = rest == (mem_reserve | mem_commit);
    if ((type & bits) == bits || (rest != mem_reserve && !commits)) {
        return errc::invalid_argument; // PH3
    }
    const auto plain = decode_alloc(where, size, rest, protect);
    if (!plain) {
        return plain.error();
    }
    if (plain->anywhere || !is_aligned(where, page_size) || !is_aligned(size, page_size)) {
        return errc::invalid_argument;
    }
    alloc_request q = *plain;
    q.kind = commits ? alloc_kind::replace_commit : alloc_kind::replace;
    q.span = span_of(where, size);
    return q;
}

result<free_request> decode_free(address where, byte_count size, std::uint32_t type) noexcept {
    free_request q;
    if (type == (mem_release | mem_preserve_placeholder)) {
        q.change = placeholder_change::preserve;
    } else if (type == (mem_release | mem_coalesce_placeholders)) {
        q.change = placeholder_change::coalesce;
    } else if (type != mem_decommit && type != mem_release) {
        return errc::invalid_argument; // F1
    }
    q.release = type != mem_decommit;
    const bool takes_size = q.change != placeholder_change::none;
    if (q.release && (size != 0) != takes_size) {
        return errc::invalid_argument; // F2, PH2, PH5
    }
    if (!fits_user_space(where, size)) {
        return errc::invalid_argument; // F3
    }
    q.where = round_down(where, page_size);
    q.whole = size == 0;
    q.span = q.whole ? range{q.where, q.where} : span_of(where, size);
    return q;
}

result<protect_request> decode_protect(address where, byte_count size, std::uint32_t protect,
                                       bool has_old_out) noexcept {
    const auto p = decode_protection(protect);
    if (!p) {
        return p.error(); // V1
    }
    if (!has_old_out) {
        return errc::no_access; // V2
    }
    if (size == 0 || !fits_user_space(where, size)) {
        return errc::invalid_argument; // V3
    }
    return protect_request{span_of(where, size), *p};
}

} // namespace memreeve::vm
