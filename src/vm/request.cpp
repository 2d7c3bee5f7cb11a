// SPDX-License-Identifier: MIT
#include "vm/request.hpp"

#include "vm/win32.hpp"

namespace memreeve::vm {

using namespace win32;

namespace {

constexpr std::uint32_t alloc_bits = mem_commit | mem_reserve | mem_reset | mem_top_down |
                                     mem_write_watch | mem_physical | mem_reset_undo |
                                     mem_large_pages;

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
    if ((type & mem_write_watch) != 0) {
        // A2: not without RESERVE; decision 9: refused until it is built, which the GC probes for.
        return errc::invalid_argument;
    }
    if ((type & mem_physical) != 0) {
        const bool shape = (type & ~mem_top_down) == (mem_reserve | mem_physical);
        if (!shape || protect != page_readwrite) {
            return errc::invalid_argument; // A3
        }
        ask_privilege = true;
    }
    if ((type & mem_large_pages) != 0) {
        if ((type & mem_commit) == 0) {
            return errc::invalid_argument; // A4
        }
        ask_privilege = true;
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
        return errc::privilege_not_held; // A3, A4, decision 7
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

result<free_request> decode_free(address where, byte_count size, std::uint32_t type) noexcept {
    if (type != mem_decommit && type != mem_release) {
        return errc::invalid_argument; // F1
    }
    free_request q;
    q.release = type == mem_release;
    if (q.release && size != 0) {
        return errc::invalid_argument; // F2
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
