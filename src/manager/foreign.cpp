// SPDX-License-Identifier: MIT
#include "manager/foreign.hpp"

#include "prim/prim.hpp"
#include "vm/win32.hpp"

namespace memreeve::manager {

using namespace vm::win32;

namespace {

// A file mapping belongs to an image when some mapping of the same file next to it is executable.
// Walks from the mapping to the one of offset 0, then up. Bounded: an ELF image has a handful.
struct image_search {
    address base = 0;
    bool is_image = false;
};

image_search find_image(const prim::mapping& m) noexcept {
    constexpr int most_segments = 16;
    image_search found{m.where.begin, allows(m.allowed, access::execute)};
    prim::mapping lowest = m;
    for (int step = 0; step < most_segments && lowest.offset != 0; ++step) {
        // Where offset 0 would lie if addresses ran with offsets; linkers leave gaps of pages above.
        const address guess = lowest.where.begin > lowest.offset ? lowest.where.begin - lowest.offset : 0;
        prim::mapping below;
        if (guess == 0 || prim::find_mapping(guess, &below) != 0 || below.inode != m.inode ||
            below.device != m.device || below.where.begin >= lowest.where.begin) {
            break;
        }
        lowest = below;
    }
    found.base = lowest.where.begin;
    prim::mapping at = lowest;
    for (int step = 0; step < most_segments && !found.is_image; ++step) {
        found.is_image = allows(at.allowed, access::execute);
        prim::mapping next;
        if (prim::find_mapping(at.where.end, &next) != 0 || next.inode != m.inode ||
            next.device != m.device) {
            break;
        }
        at = next;
    }
    if (!found.is_image) {
        found.base = m.where.begin;
    }
    return found;
}

region_info free_region(address page, address end) noexcept {
    region_info r;
    r.base = page;
    r.size = end - page;
    r.state = mem_free;
    r.protect = page_noaccess; // Q5
    return r;
}

} // namespace

result<region_info> query_outside(vm::address_space& space, address page) noexcept {
    const address limit = space.next_base(page);
    // Free space may run from the kernel's into an arena of ours and on: a few steps, each bounded.
    address end = page;
    while (end < limit) {
        if (const range home = space.arena_at(end); !home.is_empty()) {
            end = home.end < limit ? home.end : limit;
            continue;
        }
        prim::mapping m;
        const int e = prim::find_mapping(end, &m);
        if (e != 0) {
            end = limit; // nothing above
            break;
        }
        if (m.where.begin > end) {
            end = m.where.begin < limit ? m.where.begin : limit;
            continue;
        }
        if (end != page) {
            break; // free so far, and here begins somebody's mapping
        }
        region_info r;
        r.base = page;
        r.size = (m.where.end < limit ? m.where.end : limit) - page;
        r.allocation_base = m.where.begin;
        r.allocation_protect = page_readwrite;
        r.state = mem_commit;
        r.protect = vm::encode_access(m.allowed);
        r.type = mem_private;
        if (m.has_file) {
            const image_search image = find_image(m);
            r.type = image.is_image ? mem_image : mem_mapped;
            r.allocation_base = image.base;
            r.allocation_protect = image.is_image ? page_execute_writecopy : r.protect;
        } else if (m.shared) {
            r.type = mem_mapped;
        } else if (m.allowed == access::none) {
            r.state = mem_reserve;
            r.protect = 0;
            r.allocation_protect = page_noaccess;
        }
        return r;
    }
    return free_region(page, end < top_address ? end : top_address);
}

result<std::uint32_t> protect_outside(vm::address_space& space, range span,
                                      const vm::protection& wanted) noexcept {
    if (space.next_base(span.begin, span.end) < span.end || !space.arena_at(span.begin).is_empty()) {
        return errc::invalid_address;
    }
    constexpr int most_runs = 48;
    struct run {
        range where;
        access before;
    } runs[most_runs];
    int count = 0;
    for (address a = span.begin; a < span.end; ++count) {
        prim::mapping m;
        if (count == most_runs) {
            return errc::not_supported; // could not be undone from here
        }
        if (prim::find_mapping(a, &m) != 0 || m.where.begin > a) {
            return errc::invalid_address;
        }
        const address end = m.where.end < span.end ? m.where.end : span.end;
        runs[count] = {{a, end}, m.allowed};
        a = end;
    }
    if ((wanted.value & page_guard) != 0) {
        return errc::not_supported; // D27: no page state to keep it in (free memory is V4's 487)
    }
    const access kernel = vm::access_of(wanted.value);
    if (const int e = prim::protect(span.begin, span.size(), kernel); e != 0) {
        for (int i = 0; i < count; ++i) {
            static_cast<void>(prim::protect(runs[i].where.begin, runs[i].where.size(), runs[i].before));
        }
        // EACCES: a shared mapping of a file that is open for reading only.
        return failure{e == 12 ? errc::out_of_address_space : errc::invalid_address, e};
    }
    return vm::encode_access(runs[0].before);
}

} // namespace memreeve::manager
