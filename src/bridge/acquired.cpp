// SPDX-License-Identifier: MIT
#include "bridge/acquired.hpp"

#include "bridge/posix.hpp"
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
    const owner_id who = s.owner(kind);
    budget::charge taken;
    if (is_charged(prot, flags) &&
        !s.memory().charge_acquired(who, part.pages(), criticality_of(part.size()), taken)) {
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
    if (has_file) {
        static_cast<void>(
            s.host(kind).AcquiredVirtualAddressSpace(reinterpret_cast<void*>(begin), part.size()));
    } else {
        s.image().requests[static_cast<unsigned>(telemetry::request_kind::acquired)].fetch_add(
            1, std::memory_order_relaxed);
        s.memory().record_acquired(who, where, taken.pages());
    }
    taken.keep();
    return got;
}

long unmap_acquired(state& s, range part) noexcept {
    // Before the system call: afterwards the addresses may be somebody else's already.
    const telemetry::extent* e = s.memory().known().find(part.begin, extent_kind::acquired);
    if (e != nullptr && e->end.load(std::memory_order_relaxed) == part.end) {
        static_cast<void>(s.host(owner_kind::files)
                              .ReleasedVirtualAddressSpace(reinterpret_cast<void*>(part.begin)));
    } else {
        s.memory().forget_acquired(part);
    }
    return prim::pass_munmap(part.begin, part.size());
}

long protect_acquired(state& s, range part, int prot) noexcept {
    const telemetry::extent* e =
        prot == PROT_NONE ? nullptr
                          : s.memory().known().containing(part.begin, extent_kind::acquired);
    const bool files = e != nullptr && e->owner.load(std::memory_order_relaxed) ==
                                           static_cast<std::uint32_t>(s.owner(owner_kind::files));
    prim::mapping m;
    const bool opens = e != nullptr && !files && e->charged.load(std::memory_order_relaxed) == 0 &&
                       prim::find_mapping(part.begin, &m) == 0 && m.where.contains(part.begin) &&
                       m.allowed == access::none && !m.has_file;
    if (!opens) {
        return prim::pass_mprotect(part.begin, part.size(), prot);
    }
    // Reserved elsewhere and made accessible now: that is a commit.
    const address end = e->end.load(std::memory_order_relaxed);
    const range now{part.begin, part.end < end ? part.end : end};
    const auto who = static_cast<owner_id>(e->owner.load(std::memory_order_relaxed));
    budget::charge taken;
    if (!s.memory().charge_acquired(who, now.pages(), criticality_of(now.size()), taken)) {
        return -ENOMEM;
    }
    const long r = prim::pass_mprotect(part.begin, part.size(), prot);
    if (r == 0) {
        s.memory().forget_acquired(now);
        s.memory().record_acquired(who, now, taken.pages());
        taken.keep();
    }
    return r;
}

long remap_acquired(state& s, address where, byte_count old_size, byte_count new_size, int flags,
                    address to) noexcept {
    const byte_count old_bytes = round_up(old_size, page_size);
    const byte_count new_bytes = round_up(new_size, page_size);
    const telemetry::extent* e = s.memory().known().containing(where, extent_kind::acquired);
    if (e == nullptr) {
        return prim::pass_mremap(where, old_size, new_size, flags, to);
    }
    const auto who = static_cast<owner_id>(e->owner.load(std::memory_order_relaxed));
    const bool charged = e->charged.load(std::memory_order_relaxed) != 0;
    budget::charge taken;
    if (charged && new_bytes > old_bytes &&
        !s.memory().charge_acquired(who, pages_of(new_bytes - old_bytes),
                                    criticality_of(new_bytes - old_bytes), taken)) {
        return -ENOMEM;
    }
    const long got = prim::pass_mremap(where, old_size, new_size, flags, to);
    if (got < 0) {
        return got;
    }
    // The old range's charge goes and the new range's comes: a difference of what was just taken.
    budget::charge all;
    const page_count pages = pages_of(new_bytes);
    const page_count kept = charged ? pages : 0;
    s.memory().forget_acquired({where, where + old_bytes});
    if (charged && pages > taken.pages()) {
        static_cast<void>(
            s.memory().charge_acquired(who, pages - taken.pages(), criticality::process, all));
    }
    const auto begin = static_cast<address>(got);
    s.memory().record_acquired(who, {begin, begin + new_bytes},
                               all.pages() + taken.pages() == kept ? kept : 0);
    if (all.pages() + taken.pages() == kept) {
        all.keep();
        taken.keep();
    }
    return got;
}

} // namespace memreeve::bridge
