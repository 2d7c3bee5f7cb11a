// SPDX-License-Identifier: MIT
// address_space: pages locked in memory (rules L). The kernel keeps which ones: a mapping is locked
// whole or not at all, so it is asked mapping by mapping. Only that some page of a reservation may be
// locked is remembered, because decommitting unlocks (and locked pages resist some of the calls that
// would drop them).
#include "vm/address_space.hpp"

#include "prim/prim.hpp"
#include "prim/process_view.hpp"
#include "prim/write_watch.hpp"

namespace memreeve::vm {

namespace {

constexpr int nothing_there = 2; // ENOENT

// Calls f(part of `span`, is_locked) for each mapping of it, ascending, until f answers false. 0;
// ENOENT at a hole; what the system says.
template <class F>
int for_each_mapping(range span, F f) noexcept {
    const long mappings = prim::open_mappings();
    int failed = 0;
    for (address a = span.begin; a < span.end && failed == 0;) {
        prim::mapping m;
        failed = mappings >= 0 ? prim::find_mapping_in(static_cast<int>(mappings), a, &m)
                               : prim::find_mapping(a, &m);
        if (failed == 0 && m.where.begin > a) {
            failed = nothing_there;
        }
        if (failed != 0) {
            break;
        }
        const range part{a, m.where.end < span.end ? m.where.end : span.end};
        const int locked_there = prim::has_locked_page(part.begin, part.size());
        if (locked_there < 0) {
            failed = -locked_there;
        } else if (!f(part, locked_there != 0)) {
            break;
        }
        a = part.end;
    }
    if (mappings >= 0) {
        static_cast<void>(prim::close(static_cast<int>(mappings)));
    }
    return failed;
}

} // namespace

result<void> address_space::lock_in_memory(range span) noexcept {
    // What is not locked yet, to be unlocked again when not all can be.
    constexpr unsigned most = 64;
    range fresh[most];
    unsigned count = 0;
    bool fits = true;
    const int e = for_each_mapping(span, [&](range part, bool is_locked) noexcept {
        if (is_locked) {
            return true;
        }
        const bool follows = count != 0 && fresh[count - 1].end == part.begin;
        fits = follows || count < most;
        if (follows) {
            fresh[count - 1].end = part.end;
        } else if (fits) {
            fresh[count++] = part;
        }
        return fits;
    });
    if (e != 0 || !fits) {
        return failure{e == nothing_there ? errc::no_access : errc::out_of_address_space, e};
    }
    for (address a = span.begin; a < span.end;) {
        const found f = map_.find(a);
        if (f.index != 0) {
            map_.at(f.index).flags.fetch_or(locked, std::memory_order_acq_rel);
        }
        const address next = map_.next_base(a + granule_size, span.end);
        a = next > a ? next : span.end;
    }
    for (unsigned i = 0; i < count; ++i) {
        const int refused = prim::lock_in_memory(fresh[i].begin, fresh[i].size());
        if (refused != 0) {
            for (unsigned k = 0; k <= i; ++k) {
                static_cast<void>(prim::unlock_from_memory(fresh[k].begin, fresh[k].size()));
            }
            return failure{errc::over_quota, refused}; // L3
        }
    }
    return {};
}

result<void> address_space::unlock_from_memory(range span) noexcept {
    bool all = true;
    const int e = for_each_mapping(span, [&](range, bool is_locked) noexcept {
        all = is_locked;
        return all;
    });
    if (!all || e == nothing_there) {
        return errc::not_locked; // L5
    }
    const int refused = e != 0 ? e : prim::unlock_from_memory(span.begin, span.size());
    return refused == 0 ? result<void>{} : failure{errc::out_of_address_space, refused};
}

// At the mapping limit it may be refused: then the pages are dropped locked, which prim can.
void address_space::unlock_before_dropping(range used, std::uint32_t flags) noexcept {
    if ((flags & locked) != 0 && !used.is_empty()) {
        static_cast<void>(prim::unlock_from_memory(used.begin, used.size()));
    }
}

} // namespace memreeve::vm
