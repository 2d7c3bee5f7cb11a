// SPDX-License-Identifier: MIT
#include "bridge/acquired.hpp"

#include "bridge/levels.hpp"
#include "bridge/posix.hpp"
#include "bridge/shared_files.hpp"
#include "bridge/stacks.hpp"
#include "budget/charge.hpp"
#include "prim/prim.hpp"

namespace memreeve::bridge {

using telemetry::extent_kind;
using telemetry::owner_kind;

namespace {

// Anonymous memory whose pages come at once or are as good as promised. Writable NORESERVE memory
// grows by touch: sampled, not charged (decision 2).
bool is_charged(int prot, int flags) noexcept {
    return (flags & MAP_ANONYMOUS) != 0 && prot != PROT_NONE && (flags & MAP_NORESERVE) == 0;
}

} // namespace

bool is_plain_anonymous(int flags, int prot) noexcept {
    constexpr int kernels_own = MAP_SHARED | MAP_GROWSDOWN | MAP_HUGETLB;
    const bool lazy = (flags & MAP_NORESERVE) != 0 && (prot & PROT_WRITE) != 0;
    return (flags & MAP_ANONYMOUS) != 0 && (flags & kernels_own) == 0 && !lazy;
}

long map_acquired(state& s, range part, int prot, int flags, int fd, std::int64_t offset,
                  owner_kind kind) noexcept {
    const bool has_file = (flags & MAP_ANONYMOUS) == 0;
    if ((flags & MAP_FIXED) != 0 && is_plain_anonymous(flags & ~MAP_NORESERVE, prot) &&
        lies_in_stack(s, part)) {
        return prim::pass_mmap(part.begin, part.size(), prot, flags, fd, offset);
    }
    const owner_id who = s.owner(kind);
    coming_view view(s);
    if (view.begin(part.size(), prot, flags, fd, offset) != 0) {
        return -ENOMEM;
    }
    budget::charge taken;
    if (is_charged(prot, flags) &&
        !s.memory().charge_acquired(who, part.pages(),
                                    level_for(s, purpose_of(s, prot), part.size()), taken)) {
        return -ENOMEM;
    }
    long got = prim::pass_mmap(part.begin, part.size(), prot, flags, fd, offset);
    if (got == -ENOMEM && has_file) {
        // hosting-api 3.4: make room, and one more try.
        void* where = reinterpret_cast<void*>(part.begin);
        if (s.host(kind).NeedsVirtualAddressSpace(where, part.size()) == S_OK) {
            got = prim::pass_mmap(part.begin, part.size(), prot, flags, fd, offset);
        }
    }
    if (got < 0) {
        return got;
    }
    const auto begin = static_cast<address>(got);
    const range where{begin, begin + part.size()};
    if ((flags & MAP_FIXED) != 0) {
        s.memory().forget_acquired(where);
    }
    const leaving_views under(s, where); // or unmapped behind our back
    if (view.is_of_memory_file()) {
        telemetry::count_request(s.image(), telemetry::request_kind::acquired);
        view.keep(begin);
    } else if (has_file) {
        static_cast<void>(
            s.host(kind).AcquiredVirtualAddressSpace(reinterpret_cast<void*>(begin), part.size()));
    } else {
        telemetry::count_request(s.image(), telemetry::request_kind::acquired);
        if (!s.memory().record_acquired(who, where, taken.pages()) && taken.pages() != 0) {
            // What is charged must be found again; nothing but too many such mappings leads here.
            static_cast<void>(prim::pass_munmap(where.begin, where.size()));
            return -ENOMEM;
        }
    }
    taken.keep();
    return got;
}

long unmap_acquired(state& s, range part) noexcept {
    // Before the system call: afterwards the addresses may be somebody else's already.
    const telemetry::extent* e = s.memory().known().find(part.begin, extent_kind::acquired);
    owner_id who = owner_id::none;
    bool charged = false;
    bool whole = false;
    if (e != nullptr) {
        who = static_cast<owner_id>(e->owner.load(std::memory_order_relaxed));
        charged = e->charged.load(std::memory_order_relaxed) != 0;
        whole = e->end.load(std::memory_order_relaxed) == part.end;
    }
    if (whole) {
        static_cast<void>(s.host(owner_kind::files)
                              .ReleasedVirtualAddressSpace(reinterpret_cast<void*>(part.begin)));
    } else {
        s.memory().forget_acquired(part);
    }
    leaving_views views(s, part);
    const long r = prim::pass_munmap(part.begin, part.size());
    if (r < 0) {
        views.put_back();
    } else if (views.any()) {
        telemetry::count_request(s.image(), telemetry::request_kind::released);
    }
    if (r < 0 && whole) {
        // Refused at the mapping limit: it is still there, and still charged.
        budget::charge again;
        const page_count pages = charged ? part.pages() : 0;
        if (s.memory().charge_acquired(who, pages, criticality::process, again) &&
            s.memory().record_acquired(who, part, pages)) {
            again.keep();
        }
    }
    return r;
}

namespace {

// The part of one extent, or of no extent at all.
long protect_one(state& s, range part, int prot) noexcept {
    const telemetry::extent* e =
        prot == PROT_NONE ? nullptr
                          : s.memory().known().containing(part.begin, extent_kind::acquired);
    const bool files = e != nullptr && e->owner.load(std::memory_order_relaxed) ==
                                           static_cast<std::uint32_t>(s.owner(owner_kind::files));
    prim::mapping m;
    const bool opens = e != nullptr && !files && e->charged.load(std::memory_order_relaxed) == 0 &&
                       prim::find_mapping(part.begin, &m) == 0 && m.where.contains(part.begin) &&
                       m.allowed == access::none;
    if (!opens) {
        return prim::pass_mprotect(part.begin, part.size(), prot);
    }
    // Reserved elsewhere and made accessible now: that is a commit.
    const auto who = static_cast<owner_id>(e->owner.load(std::memory_order_relaxed));
    budget::charge taken;
    if (!s.memory().charge_acquired(who, part.pages(),
                                    level_for(s, purpose_of(s, prot), part.size()), taken)) {
        return -ENOMEM;
    }
    const long r = prim::pass_mprotect(part.begin, part.size(), prot);
    if (r == 0) {
        s.memory().forget_acquired(part);
        if (s.memory().record_acquired(who, part, taken.pages())) {
            taken.keep();
        }
    }
    return r;
}

} // namespace

long protect_acquired(state& s, range part, int prot) noexcept {
    opening_views views(s, part);
    if (views.begin(prot) != 0) {
        return -ENOMEM;
    }
    for (address at = part.begin; at < part.end;) {
        address end = part.end;
        s.memory().known().for_each([&](telemetry::extent& e) {
            const address b = e.begin.load(std::memory_order_acquire);
            const address stop = e.end.load(std::memory_order_relaxed);
            if (e.kind.load(std::memory_order_relaxed) !=
                static_cast<std::uint32_t>(extent_kind::acquired)) {
                return;
            }
            end = b > at && b < end ? b : end;
            end = b <= at && stop > at && stop < end ? stop : end;
        });
        if (const long r = protect_one(s, {at, end}, prot); r != 0) {
            if (at != part.begin) {
                views.keep(); // what came before is accessible now
            }
            return r;
        }
        at = end;
    }
    views.keep();
    return 0;
}

long remap_acquired(state& s, address where, byte_count old_size, byte_count new_size, int flags,
                    address to) noexcept {
    constexpr int dont_unmap = 4;
    const byte_count old_bytes = round_up(old_size, page_size);
    const byte_count new_bytes = round_up(new_size, page_size);
    const bool stays = (flags & dont_unmap) != 0; // emptied, but there
    const telemetry::extent* e = s.memory().known().containing(where, extent_kind::acquired);
    const auto who = e == nullptr ? owner_id::none
                                  : static_cast<owner_id>(e->owner.load(std::memory_order_relaxed));
    const bool charged = e != nullptr && e->charged.load(std::memory_order_relaxed) != 0;
    const byte_count given_up = stays ? 0 : old_bytes;
    budget::charge taken;
    if (charged && new_bytes > given_up &&
        !s.memory().charge_acquired(
            who, pages_of(new_bytes - given_up),
            level_for(s, purpose_of(s, PROT_READ | PROT_WRITE), new_bytes - given_up), taken)) {
        return -ENOMEM;
    }
    const long got = prim::pass_mremap(where, old_size, new_size, flags, to);
    if (got < 0) {
        return got;
    }
    const auto begin = static_cast<address>(got);
    const range now{begin, begin + new_bytes};
    s.memory().forget_acquired({where, where + given_up});
    s.memory().forget_acquired(now); // what it was put over (MREMAP_FIXED)
    const leaving_views under(s, now);
    if (e == nullptr) {
        return got;
    }
    // The old range's charge has gone and the new range's comes: a difference of what was just taken.
    budget::charge all;
    const page_count pages = charged ? pages_of(new_bytes) : 0;
    if (pages > taken.pages()) {
        static_cast<void>(
            s.memory().charge_acquired(who, pages - taken.pages(), criticality::process, all));
    }
    const bool whole = all.pages() + taken.pages() == pages;
    if (s.memory().record_acquired(who, now, whole ? pages : 0) && whole) {
        all.keep();
        taken.keep();
    }
    return got;
}

} // namespace memreeve::bridge
