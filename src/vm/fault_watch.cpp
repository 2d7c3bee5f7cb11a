// SPDX-License-Identifier: MIT
// address_space: written pages where the kernel does not remember them (decision 9). The reservation
// has one bit for each page, in a mapping named by its `tag`. Of its pages the kernel makes none
// writable, whatever their state allows, until one is written to: the fault sets the bit and opens the
// page, which stays open until it is reset or given another protection.
//
// Bits are set and cleared under a claim of the page, so that a page is never open with its bit clear.
#include "vm/address_space.hpp"

#include "prim/prim.hpp"

namespace memreeve::vm {

namespace {

using bits = std::atomic<std::uint64_t>;

constexpr byte_count bytes_for(page_count pages) noexcept {
    return round_up((pages + 7) / 8, page_size);
}

bits* bits_of(const reservation& r) noexcept {
    return reinterpret_cast<bits*>(r.tag.load(std::memory_order_relaxed));
}

} // namespace

result<void> address_space::begin_fault_watch(std::uint32_t index) noexcept {
    address at = 0;
    reservation& r = map_.at(index);
    const byte_count size = bytes_for(r.pages.load(std::memory_order_relaxed));
    if (const int e = prim::map_records(size, &at); e != 0) {
        return failure{errc::out_of_address_space, e};
    }
    if (listener_.added != nullptr) {
        listener_.added(listener_.context, {at, at + size}, owner_id::none,
                        space_listener::kind::records);
    }
    r.tag.store(at, std::memory_order_release);
    r.flags.fetch_or(watched_by_faults, std::memory_order_acq_rel);
    return {};
}

void address_space::end_fault_watch(std::uint32_t index) noexcept {
    reservation& r = map_.at(index);
    if ((r.flags.load(std::memory_order_acquire) & watched_by_faults) == 0) {
        return;
    }
    const address at = r.tag.exchange(0, std::memory_order_acq_rel);
    const byte_count size = bytes_for(r.pages.load(std::memory_order_relaxed));
    if (at == 0) {
        return;
    }
    if (listener_.removed != nullptr) {
        listener_.removed(listener_.context, {at, at + size});
    }
    // A lone mapping: the kernel needs nothing to take it back.
    static_cast<void>(prim::unmap(at, size));
}

access address_space::access_to_give(std::uint32_t index, access wanted) const noexcept {
    const std::uint32_t flags = map_.at(index).flags.load(std::memory_order_acquire);
    return (flags & watched_by_faults) != 0 ? without_write(wanted) : wanted;
}

// Decommitted, or (is_written) opened by an undo that gave every page the access of its state.
void address_space::mark_pages(range span, std::uint32_t index, bool is_written) noexcept {
    const reservation& r = map_.at(index);
    if ((r.flags.load(std::memory_order_acquire) & watched_by_faults) == 0) {
        return;
    }
    bits* const all = bits_of(r);
    for (address a = span.begin; a < span.end; a += page_size) {
        const page_count page = pages_of(a - r.base());
        const std::uint64_t bit = std::uint64_t{1} << page % 64;
        if (is_written) {
            all[page / 64].fetch_or(bit, std::memory_order_relaxed);
        } else {
            all[page / 64].fetch_and(~bit, std::memory_order_relaxed);
        }
    }
}

bool address_space::note_write(address a) noexcept {
    const range page = span_of(a, 1);
    const found f = find(page.begin);
    const auto is_open_to_writes = [](page_code c) {
        return c == page_code::rw || c == page_code::rwx;
    };
    if (f.index == 0 || (f.flags & watched_by_faults) == 0 || !is_open_to_writes(f.code)) {
        return false;
    }
    switch (map_.claim(f.index, f.life, page)) {
    case claim_outcome::claimed: break;
    case claim_outcome::busy: return true; // let the access try again
    case claim_outcome::changed:
    case claim_outcome::no_memory: return false;
    }
    page_code code = f.code;
    map_.for_each_run(page, [&](range, page_code c, bool) { code = c; });
    bool done = true;
    if (is_open_to_writes(code)) {
        const access all = code == page_code::rwx ? access::read_write_execute : access::read_write;
        done = prim::protect(page.begin, page.size(), all) == 0;
        if (done) {
            mark_pages(page, f.index, true);
        }
    }
    map_.unclaim(page);
    return done;
}

result<page_count> address_space::pages_noted(const found& f, range span, bool reset, void** out,
                                              page_count most) noexcept {
    if (reset) {
        if (auto r = claim(f, span); !r) {
            return r.error();
        }
    }
    const bits* const all = bits_of(map_.at(f.index));
    page_count told = 0;
    range run{span.begin, span.begin};
    int failed = 0;
    const auto close_run = [&]() noexcept {
        // Closed first: while it is open a write would not be seen. The bits go with it or stay.
        map_.for_each_run(run, [&](range part, page_code code, bool) {
            if (failed == 0 && (code == page_code::rw || code == page_code::rwx)) {
                const access a = code == page_code::rwx ? access::read_execute : access::read;
                failed = prim::protect(part.begin, part.size(), a);
            }
        });
        if (failed == 0) {
            mark_pages(run, f.index, false);
        }
    };
    for (address a = span.begin; a < span.end && told < most && failed == 0; a += page_size) {
        const page_count page = pages_of(a - f.whole.begin);
        const std::uint64_t word = all[page / 64].load(std::memory_order_relaxed);
        if (word == 0 && page % 64 == 0 && span.end - a >= 64 * page_size) {
            a += 63 * page_size;
            continue;
        }
        if ((word >> page % 64 & 1) == 0) {
            continue;
        }
        if (out != nullptr) {
            out[told] = reinterpret_cast<void*>(a);
        }
        ++told;
        if (reset && run.end != a) {
            if (!run.is_empty()) {
                close_run();
            }
            run.begin = a;
        }
        run.end = a + page_size;
    }
    if (reset && !run.is_empty() && failed == 0) {
        close_run();
    }
    if (failed != 0 && out != nullptr) {
        for (page_count i = 0; i < told; ++i) { // written to, as before; open or not
            const auto at = reinterpret_cast<address>(out[i]);
            mark_pages({at, at + page_size}, f.index, true);
        }
    }
    if (reset) {
        map_.unclaim(span);
    }
    return failed == 0 ? result<page_count>{told} : failure{errc::out_of_address_space, failed};
}

} // namespace memreeve::vm
