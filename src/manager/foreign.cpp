// SPDX-License-Identifier: MIT
#include "manager/foreign.hpp"

#include "prim/prim.hpp"
#include "vm/saved_access.hpp"
#include "vm/win32.hpp"

namespace memreeve::manager {

using namespace vm::win32;

namespace {

constexpr int no_mapping_above = 2; // ENOENT of prim::find_mapping

// A file mapping belongs to an image when some mapping of the same file next to it is executable.
// Walks from the mapping to the one of offset 0, then up. Bounded: an ELF image has a handful.
struct image_search {
    address base = 0;
    bool is_image = false;
};

result<image_search> find_image(const prim::mapping& m) noexcept {
    constexpr int most_segments = 16;
    const auto same_file = [&m](const prim::mapping& other) {
        return other.has_file && other.inode == m.inode && other.device == m.device;
    };
    prim::mapping lowest = m;
    for (int step = 0; step < most_segments && lowest.offset != 0; ++step) {
        // Where offset 0 would lie if addresses ran with offsets; linkers leave gaps of pages above.
        if (lowest.where.begin <= lowest.offset) {
            break;
        }
        prim::mapping below;
        const int e = prim::find_mapping(lowest.where.begin - lowest.offset, &below);
        if (e != 0 && e != no_mapping_above) {
            return failure{errc::out_of_address_space, e};
        }
        if (e != 0 || !same_file(below) || below.where.begin >= lowest.where.begin) {
            break;
        }
        lowest = below;
    }
    image_search found{lowest.where.begin, allows(m.allowed, access::execute)};
    prim::mapping at = lowest;
    for (int step = 0; step < most_segments && !found.is_image; ++step) {
        found.is_image = allows(at.allowed, access::execute);
        prim::mapping next;
        const int e = prim::find_mapping(at.where.end, &next);
        if (e != 0 && e != no_mapping_above) {
            return failure{errc::out_of_address_space, e};
        }
        if (e != 0 || !same_file(next)) {
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
        if (e == no_mapping_above) {
            end = limit;
            break;
        }
        if (e != 0) {
            // No descriptor, no /proc: what is there is not known, and "free" would be a guess.
            return failure{errc::out_of_address_space, e};
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
            const auto image = find_image(m);
            if (!image) {
                return image.error();
            }
            r.type = image->is_image ? mem_image : mem_mapped;
            r.allocation_base = image->base;
            r.allocation_protect = image->is_image ? page_execute_writecopy : r.protect;
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
    if (space.next_base(span.begin, span.end) < span.end ||
        !space.arena_at(span.begin).is_empty()) {
        return errc::invalid_address;
    }
    vm::saved_access<48> before;
    if (const int e = before.save(span); e != 0) {
        return failure{e == no_mapping_above ? errc::invalid_address : errc::out_of_address_space,
                       e};
    }
    if (vm::is_guarded(wanted.code)) {
        // D27: a guard is page state, and these are not our pages. After save(), because where
        // nothing is mapped V4's 487 comes first (the recorded sequences have it).
        return errc::not_supported;
    }
    if (const int e = prim::protect(span.begin, span.size(), vm::access_of(wanted.value)); e != 0) {
        before.put_back();
        // EACCES: a shared mapping of a file that is open for reading only.
        return failure{e == 12 ? errc::out_of_address_space : errc::invalid_address, e};
    }
    return vm::encode_access(before.first());
}

} // namespace memreeve::manager
