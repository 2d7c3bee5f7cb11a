// SPDX-License-Identifier: MIT
// manager: runs of pages for heaps (page_runs.hpp), committed and charged as they are needed, kept warm
// within a bound, given back when somebody needs the pages.
#include "heap/poison.hpp"
#include "manager/operation.hpp"
#include "manager/pages.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"
#include "vm/win32.hpp"

namespace memreeve::manager {

namespace {

// The upper half of a chunk's tag; the number of the chunk is the lower. No heap has so high a number.
constexpr std::uint64_t chunk_mark = 0xffffffff;
constexpr byte_count chunk_bytes = bytes_of(page_runs::chunk_pages);
constexpr std::uint32_t least_given_back = 64; // pages at a time: a system call each

constexpr std::uint64_t tag_of_chunk(std::uint32_t chunk) noexcept {
    return chunk_mark << 32 | chunk;
}
// Under RLIMIT_AS chunks are no more than a part of it.
constexpr byte_count limit_share = 16;

// Cold pages read zero.
void zero_warm(const page_runs::held& h, address begin) noexcept {
    for (std::uint32_t page = h.run.first; page < h.run.end();) {
        std::uint32_t end = page;
        while (end < h.run.end() && !h.is_cold(end)) {
            ++end;
        }
        __builtin_memset(reinterpret_cast<void*>(begin + bytes_of(page - h.run.first)), 0,
                         bytes_of(end - page));
        for (page = end; page < h.run.end() && h.is_cold(page);) {
            ++page;
        }
    }
}

} // namespace

// What has been reserved stays when the next step fails, for whoever tries again.
bool manager::open_runs() noexcept {
    if (runs_.place().is_empty()) {
        const byte_count most = prim::address_space_limit() / limit_share / chunk_bytes;
        const auto chunks = static_cast<std::uint32_t>(
            most < page_runs::chunk_limit ? most : page_runs::chunk_limit);
        const byte_count size = page_runs::bytes_for(chunks);
        address at = 0;
        if (prim::reserve(0, size, prim::placement::anywhere, &at) != 0) {
            return false;
        }
        if (runs_.set_place(at, chunks)) {
            static_cast<void>(
                extents_.add({at, at + size}, owner_id::none, telemetry::extent_kind::records, 0));
        } else {
            static_cast<void>(prim::unmap(at, size));
        }
    }
    if (prim::protect(runs_.place().begin, page_runs::heads_bytes, access::read_write) != 0) {
        return false;
    }
    runs_.open();
    return true;
}

// A new chunk, and in it so many cold pages for the caller. False: it cannot be had.
bool manager::make_chunk(owner_id who, page_count pages, page_runs::held& out) noexcept {
    bool is_new = false;
    const std::uint32_t chunk = runs_.begin_making(is_new);
    if (chunk == page_runs::chunk_limit) {
        return false;
    }
    const range record = runs_.record_of(chunk);
    if (is_new && prim::protect(record.begin, record.size(), access::read_write) != 0) {
        runs_.give_up_making(chunk, false);
        return false;
    }
    const operation inside(*this);
    const auto q =
        vm::decode_alloc(0, chunk_bytes, vm::win32::mem_reserve, vm::win32::page_readwrite);
    vm::planned p;
    if (!space_.plan_reserve(*q, who, tag_of_chunk(chunk), p) ||
        !carry_out(p, criticality::process)) {
        runs_.give_up_making(chunk, true);
        return false;
    }
    runs_.finish_making(chunk, p.span().begin, who, static_cast<std::uint32_t>(pages), out);
    return true;
}

// A chunk without runs goes back whole. Pages that were warm in it; all others are no loss. One that
// cannot go now (a thread was stopped while it changed one of its pages) stays for the next who tries.
page_count manager::end_chunk(std::uint32_t chunk, owner_id who) noexcept {
    std::uint32_t backed = 0;
    page_runs::held all;
    if (!runs_.is_live(chunk) || !runs_.take_all(chunk, who, all, backed)) {
        return 0;
    }
    const address base = runs_.base_of(chunk);
    heap::open_to_use(base, chunk_bytes);
    // Before the addresses go: another chunk may have them at once, and its blocks must not be looked for
    // here, as they were while a thread stood between the two (1 of 304 runs of a test under load).
    runs_.set_base(chunk, 0);
    if (!give_back_pages(base)) {
        runs_.set_base(chunk, base);
        heap::close_to_use(base, chunk_bytes);
        runs_.go_on(all);
        return 0;
    }
    runs_.forget(chunk);
    return backed;
}

// All pages that the caller holds become charged and committed.
result<void> manager::back_run(const page_runs::held& h, criticality level) noexcept {
    if (h.cold_hull.pages == 0) {
        return {};
    }
    const operation inside(*this);
    vm::planned p;
    result<void> done = space_.plan_commit(runs_.range_of(h.cold_hull),
                                           *vm::decode_protection(vm::win32::page_readwrite), p);
    if (done) {
        done = carry_out(p, level);
    }
    if (done) {
        tree()
            .at(runs_.owner_of(h.run.chunk))
            .heap.fetch_add(static_cast<page_count>(p.diff().committed), std::memory_order_relaxed);
    }
    return done;
}

// The reverse, for warm pages in the caller's hands. False: they stay as they were.
bool manager::unback_run(const page_run& r) noexcept {
    const operation inside(*this);
    vm::free_request q;
    q.span = runs_.range_of(r);
    q.where = q.span.begin;
    vm::planned p;
    if (!space_.plan_free(q, false, p) || !carry_out(p, criticality::process)) {
        return false;
    }
    tree()
        .at(runs_.owner_of(r.chunk))
        .heap.fetch_add(static_cast<page_count>(p.diff().committed), std::memory_order_relaxed);
    return true;
}

result<heap::taken> manager::take_run(owner_id who, const heap::wish& w) noexcept {
    const page_count pages = pages_of(round_up(w.size, page_size));
    if (pages == 0 || pages > page_runs::longest_run || w.alignment > granule_size ||
        (!runs_.is_open() && !open_runs())) {
        return errc::out_of_address_space;
    }
    const auto alignment =
        static_cast<std::uint32_t>(w.alignment > page_size ? pages_of(w.alignment) : 1);
    page_runs::held h;
    if (!runs_.take(who, static_cast<std::uint32_t>(pages), alignment, h) &&
        !make_chunk(who, pages, h)) {
        return errc::out_of_address_space;
    }
    const page_run& r = h.run;
    if (const result<void> backed = back_run(h, w.level); !backed) {
        runs_.put_back(h);
        if (runs_.warm_in(r.chunk) == 0) {
            end_chunk(r.chunk, who);
        }
        return backed.error();
    }
    const range at = runs_.range_of(r);
    heap::open_to_use(at.begin, at.size());
    if (!w.may_be_used) {
        zero_warm(h, at.begin);
    }
    runs_.publish(r, w.tag);
    return heap::taken{at.begin, at.begin, at.size()};
}

page_run manager::run_at(address where) noexcept {
    if (!runs_.is_open()) {
        return {};
    }
    bool is_all = false;
    std::uint32_t chunk = runs_.chunk_at(where, is_all);
    if (chunk == page_runs::chunk_limit && !is_all) {
        const vm::found f = space_.find_owner(where);
        chunk = f.index != 0 && f.tag >> 32 == chunk_mark ? static_cast<std::uint32_t>(f.tag)
                                                          : page_runs::chunk_limit;
    }
    return chunk != page_runs::chunk_limit ? runs_.find(chunk, where) : page_run{};
}

void manager::give_back_run(const page_run& r) noexcept {
    const owner_id who = runs_.owner_of(r.chunk);
    runs_.retract(r);
    runs_.let_go_warm(r);
    bound_runs(who);
}

result<void> manager::resize_run(const page_run& r, page_count pages, criticality level) noexcept {
    const auto n = static_cast<std::uint32_t>(
        pages < page_runs::chunk_pages ? pages : page_runs::chunk_pages + 1);
    const page_run whole{r.chunk, r.first, n};
    const std::uint64_t tag = runs_.tag_of(r);
    if (n == r.pages) {
        return {};
    }
    if (n < r.pages) {
        const owner_id who = runs_.owner_of(r.chunk);
        const page_run tail{r.chunk, whole.end(), r.pages - n};
        runs_.publish(whole, tag);
        heap::close_to_use(runs_.range_of(tail).begin, bytes_of(tail.pages));
        runs_.let_go_warm(tail);
        bound_runs(who);
        return {};
    }
    page_runs::held more;
    if (!runs_.take_at({r.chunk, r.end(), n - r.pages}, more)) {
        return errc::out_of_address_space;
    }
    if (const result<void> backed = back_run(more, level); !backed) {
        runs_.put_back(more);
        return backed;
    }
    heap::open_to_use(runs_.range_of(more.run).begin, bytes_of(more.run.pages));
    runs_.publish(whole, tag);
    return {};
}

// Keeps what this owner has warm within its bound; an eighth is made room for at a time, because to
// know how much it has is to look at all its chunks.
void manager::bound_runs(owner_id who) noexcept {
    const page_count bound = warm_bound(who);
    if (runs_.warm() + warm_.pages() <= bound) {
        return;
    }
    const page_count kept = warm_pages(who);
    if (kept > bound) {
        drop_runs(who, kept - bound + bound / 8);
    }
}

// Gives back warm pages of this owner's chunks (none: of all), about as many as are wanted; their
// number. What others have in hand is theirs.
page_count manager::drop_runs(owner_id who, page_count wanted) noexcept {
    if (!runs_.is_open()) {
        return 0;
    }
    page_count dropped = 0;
    const bool all = who == owner_id::none;
    for (std::uint32_t i = all ? runs_.high() : 0; i-- != 0;) {
        dropped += end_chunk(i, who);
    }
    page_run r;
    while (dropped < wanted) {
        const page_count rest = wanted - dropped;
        const page_count most = rest < least_given_back         ? least_given_back
                                : rest < page_runs::chunk_pages ? rest
                                                                : page_runs::chunk_pages;
        if (!runs_.take_warm(who, static_cast<std::uint32_t>(most), r)) {
            break;
        }
        if (!unback_run(r)) {
            runs_.let_go_warm(r);
            break;
        }
        runs_.let_go_cold(r);
        dropped += r.pages;
        if (runs_.warm_in(r.chunk) == 0) {
            end_chunk(r.chunk, who);
        }
    }
    return dropped;
}

page_count manager::warm_pages(owner_id who) noexcept {
    return (runs_.is_open() ? runs_.warm_of(who) : 0) + warm_.pages_of_owner(who);
}

} // namespace memreeve::manager
