// SPDX-License-Identifier: MIT
// address_space: what the rules PH ask of it. The pieces of an area are kept in piece_tables.
#include "vm/placeholders.hpp"

#include "prim/prim.hpp"
#include "vm/address_space.hpp"
#include "vm/win32.hpp"

namespace memreeve::vm {

namespace {

constexpr int out_of_memory = 12; // ENOMEM
constexpr std::uint64_t patience_ns = 1'000'000'000;

int grow_tables(address begin, byte_count size) noexcept {
    return prim::protect(begin, size, access::read_write);
}

} // namespace

// The reservation as find() tells it becomes the piece. A placeholder is reserved from end to end,
// also while an allocation turns into one.
found address_space::find_piece(address a) const noexcept {
    for (;;) {
        found f = map_.find(a);
        piece here;
        if ((f.flags & placeholder) == 0) {
            f.tag = (f.flags & watched_by_faults) != 0 ? 0 : f.tag;
            return f;
        }
        if (!pieces_.find(map_.at(f.index), f.life, f.at, here)) {
            continue;
        }
        f.whole = here.where;
        f.protect = here.protect;
        f.tag = 0;
        f.run_end = f.run_end < here.where.end ? f.run_end : here.where.end;
        if (here.kind != piece_kind::allocation) {
            f.run_end = here.where.end;
            f.code = page_code::reserved;
            f.flags |= bare_piece;
        }
        if (here.kind == piece_kind::vacant) {
            f.index = 0;
            f.code = page_code::outside;
        }
        return f;
    }
}

// Under the claim nobody changes it any more: is it what find() saw?
bool address_space::is_still(const found& f) const noexcept {
    const found now = find_piece(f.at);
    return now.index == f.index && now.life == f.life && now.whole == f.whole &&
           now.protect == f.protect && now.flags == f.flags;
}

result<void> address_space::make_pieces(std::uint32_t index) noexcept {
    if (!pieces_.is_open() && pieces_.may_open()) {
        address space = 0;
        if (const int e =
                prim::reserve(0, piece_tables::space_size, prim::placement::anywhere, &space);
            e != 0) {
            pieces_.give_up();
            return failure{errc::out_of_address_space, e};
        }
        piece_space_ = {space, space + piece_tables::space_size};
        if (listener_.added != nullptr) {
            listener_.added(listener_.context, piece_space_, owner_id::none,
                            space_listener::kind::records);
        }
        pieces_.open(space, grow_tables);
    }
    // Somebody else opens them just now: decision 18's patience, as with claims.
    for (std::uint64_t since = 0; !pieces_.is_open(); prim::yield()) {
        const std::uint64_t now = prim::now_ns();
        since = since == 0 ? now : since;
        if (now - since > patience_ns) {
            return errc::busy;
        }
    }
    const std::uint32_t table = pieces_.take();
    if (table == 0) {
        return failure{errc::out_of_address_space, out_of_memory};
    }
    pieces_.begin(map_.at(index), table);
    return {};
}

result<void> address_space::begin_piece_change(planned& out, piece_kind kind,
                                               std::uint32_t protect) noexcept {
    out.spare_table_ = pieces_.take();
    out.piece_ = kind;
    out.piece_protect_ = protect;
    // out gives up its claim when it goes out of scope
    return out.spare_table_ != 0 ? result<void>{}
                                 : failure{errc::out_of_address_space, out_of_memory};
}

// False: the area would have too many pieces.
bool address_space::change_piece(planned& p) noexcept {
    const bool done =
        pieces_.set(map_.at(p.index_), {p.span_, p.piece_, p.piece_protect_}, p.spare_table_);
    if (done) {
        p.spare_table_ = 0;
    }
    return done;
}

// ---- plans ------------------------------------------------------------------------------------------

result<void> address_space::plan_replace_placeholder(range span, bool commits, const protection& p,
                                                     planned& out) noexcept {
    const found f = find(span.begin);
    if (f.index == 0 || (f.flags & bare_piece) == 0 || f.whole != span) {
        return errc::invalid_address; // PH3
    }
    if (auto r = claim(f, span); !r) {
        return r;
    }
    out.begin(this, commits ? planned::kind::commit : planned::kind::reshape, f, span,
              commits ? p.code : page_code::reserved);
    out.allocation_protect_ = p.value;
    if (commits) {
        count(out);
    }
    return begin_piece_change(out, piece_kind::allocation, p.value);
}

result<void> address_space::plan_preserve(range span, planned& out) noexcept {
    const found f = find(span.begin);
    if (f.index == 0) {
        return errc::not_ours;
    }
    const bool is_piece = (f.flags & placeholder) != 0;
    const bool is_bare = (f.flags & bare_piece) != 0;
    // PH2: part of a placeholder; PH4: the whole of an allocation that replaced one.
    if (!is_piece || !f.whole.contains(span) || (span == f.whole) == is_bare) {
        return errc::invalid_address;
    }
    if (auto r = claim(f, is_bare ? f.whole : span); !r) {
        return r;
    }
    if (is_bare) {
        out.begin(this, planned::kind::reshape, f, f.whole, page_code::reserved);
        out.reshaped_ = span;
    } else {
        out.begin(this, planned::kind::decommit, f, span, page_code::reserved);
        count(out);
    }
    return begin_piece_change(out, piece_kind::placeholder, win32::page_noaccess);
}

result<void> address_space::plan_coalesce(range span, planned& out) noexcept {
    const found first = find(span.begin);
    if (first.index == 0) {
        return errc::not_ours;
    }
    const auto are_placeholders = [&]() noexcept {
        std::uint32_t count = 0;
        address a = span.begin;
        for (; a < span.end; ++count) {
            const found f = find(a);
            if (f.index != first.index || (f.flags & bare_piece) == 0 || f.whole.begin != a) {
                return false;
            }
            a = f.whole.end;
        }
        return a == span.end && count >= 2;
    };
    if (!are_placeholders()) {
        return errc::invalid_address; // PH5
    }
    if (auto r = claim(first, span); !r) {
        return r;
    }
    out.begin(this, planned::kind::reshape, first, span, page_code::reserved); // holds the claim
    if (!are_placeholders()) {
        return errc::invalid_address;
    }
    return begin_piece_change(out, piece_kind::placeholder, win32::page_noaccess);
}

result<void> address_space::plan_release_piece(address where, planned& out) noexcept {
    const found f = find(where);
    if (f.index == 0) {
        return errc::not_ours; // F4
    }
    if (f.whole.begin != where) {
        return errc::invalid_address; // F6
    }
    if (auto r = claim(f, f.whole); !r) {
        return r;
    }
    out.begin(this, planned::kind::decommit, f, f.whole, page_code::dead);
    count(out);
    return begin_piece_change(out, piece_kind::vacant, 0);
}

// Vacant pieces next to each other are one.
result<void> address_space::plan_release_area(address where, planned& out) noexcept {
    found area = map_.find(where);
    const auto is_vacant = [&]() noexcept {
        const found piece_there = find_piece(area.at);
        return piece_there.index == 0 && piece_there.whole == area.whole;
    };
    if (area.index == 0 || (area.flags & placeholder) == 0 || !is_vacant()) {
        return errc::invalid_address;
    }
    area.flags &= ~std::uint32_t{placeholder}; // the whole of it, not a piece
    if (auto r = claim(area, area.whole); !r) {
        return r;
    }
    out.begin(this, planned::kind::release, area, area.whole, page_code::reserved);
    if (!is_vacant()) {
        return errc::invalid_address; // another area lies there now
    }
    count(out);
    return {};
}

// ---- apply --------------------------------------------------------------------------------------------

// Only the table changes; last, because it cannot fail afterwards.
result<void> address_space::apply_reshape(planned& p) noexcept {
    const range all = p.span_;
    p.span_ = p.reshaped_.is_empty() ? all : p.reshaped_;
    const bool done = change_piece(p);
    p.span_ = all;
    return done ? result<void>{} : failure{errc::out_of_address_space, out_of_memory};
}

} // namespace memreeve::vm
