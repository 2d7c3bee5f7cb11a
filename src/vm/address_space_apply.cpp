// SPDX-License-Identifier: MIT
// Applies what was planned, which may fail and then has changed nothing, and keeps what was applied,
// which cannot fail.
#include "vm/address_space.hpp"

#include "prim/prim.hpp"
#include "prim/write_watch.hpp"
#include "vm/saved_access.hpp"

namespace memreeve::vm {

namespace {

constexpr bool is_program_writable(page_code c) noexcept {
    return c == page_code::rw || c == page_code::rwx;
}

} // namespace

// ---- apply --------------------------------------------------------------------------------------

result<void> address_space::apply(planned& p) noexcept {
    switch (p.kind_) {
    case planned::kind::reserve: return apply_reserve(p);
    case planned::kind::commit:
    case planned::kind::protect: return apply_access(p);
    case planned::kind::discard: return apply_discard(p);
    case planned::kind::undo_discard: return apply_undo_discard(p);
    case planned::kind::decommit: return apply_decommit(p);
    case planned::kind::reshape: return apply_reshape(p);
    case planned::kind::release:
    case planned::kind::replace:
    case planned::kind::none: return {};
    }
    return {};
}

// The record comes first: whatever is taken can then be owed.
result<void> address_space::apply_reserve(planned& p) noexcept {
    p.index_ = map_.make({}, p.owner_, p.allocation_protect_, p.flags_, p.tag_);
    if (p.index_ == 0) {
        return from_os(12 /* ENOMEM */);
    }
    result<void> taken = take_space(p);
    if (!taken && owed() != 0) {
        settle_owed(); // the very addresses may be owed
        taken = take_space(p);
    }
    if (!taken) {
        map_.forget(p.index_);
        return taken;
    }
    map_.place(p.index_, p.span_);
    p.took_space_ = true;
    if (!map_.prepare(p.span_)) {
        return from_os(12 /* ENOMEM */);
    }
    if ((p.flags_ & placeholder) != 0) {
        if (auto r = make_pieces(p.index_); !r) {
            return r;
        }
    }
    if ((p.flags_ & watched) != 0) {
        const auto r = watch_.is_supported() ? watch_.begin(p.span_) : begin_fault_watch(p.index_);
        if (!r) {
            return r;
        }
        p.kernel_ = access_to_give(p.index_, p.kernel_);
    }
    // When one of these fails a prefix may have changed; abandon() gives the space back closed off.
    const range s = p.span_;
    const bool commits = is_committed(p.target_);
    int e = p.warm_ && commits ? wake(*home_of(map_.at(p.index_)), p.index_, s) : 0;
    if (e == 0 && p.kernel_ != (p.guarded_ ? access::read_write : access::none) && commits) {
        e = prim::protect(s.begin, s.size(), p.kernel_);
    }
    if (e == 0 && p.guarded_ && !p.relaxed_ && !p.warm_ && commits) {
        e = prim::remove_guard(s.begin, s.size());
    }
    if (e != 0) {
        return from_os(e);
    }
    const auto pages = static_cast<std::int64_t>(s.pages());
    p.diff_.writable = pages * (int{is_kernel_writable(p.target_, p.guarded_)} - int{p.guarded_});
    p.diff_.slack = pages * (int{is_slack(p.target_, p.guarded_)} - int{p.guarded_});
    return {};
}

result<void> address_space::take_space(planned& p) noexcept {
    const byte_count size = p.span_.size();
    const bool is_special = p.flags_ != 0 || (p.top_down_ && p.anywhere_);
    const auto got = is_special    ? take_own_mapping(p)
                     : p.anywhere_ ? take_anywhere(size, p.owner_, is_committed(p.target_))
                                   : take_exactly(p.span_, p.owner_);
    if (!got) {
        return got.error();
    }
    p.span_ = {got->begin, got->begin + size};
    p.guarded_ = got->guarded;
    std::uint32_t flags = 0;
    p.relaxed_ = got->relaxed;
    p.warm_ = got->warm;
    if (p.warm_ && !is_committed(p.target_)) {
        p.target_ = page_code::reserved_writable;
    }
    if (p.guarded_) {
        flags |= guarded_space;
    }
    if (p.relaxed_) {
        flags |= relaxed_space;
    }
    if (got->home != nullptr) {
        flags |= static_cast<std::uint32_t>(got->home - arenas_) << arena_shift;
    }
    map_.at(p.index_).flags.fetch_or(flags, std::memory_order_relaxed);
    return {};
}

// Commit and protect: the kernel's access of the whole span, in one call, and none where every page
// has it already. Not atomic in the kernel, so a failure puts the old access back.
result<void> address_space::apply_access(planned& p) noexcept {
    if (p.guarded_) {
        return apply_access_guarded(p);
    }
    p.kernel_ = access_to_give(p.index_, p.kernel_);
    range change{p.span_.end, p.span_.begin};
    int failed = 0;
    const bool distrust =
        (map_.at(p.index_).flags.load(std::memory_order_acquire) & may_be_open) != 0;
    const bool commits = p.kind_ == planned::kind::commit;
    map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
        const bool unsure = distrust && is_reserved(code);
        if (commits && (unsure || code == page_code::reserved_writable) && failed == 0) {
            failed = prim::discard(run.begin, run.size());
        }
        if (code == page_code::replaced) {
            p.over_mappings_ = true;
        } else if (kernel_access(code, false) != p.kernel_ || unsure) {
            change.begin = change.begin < run.begin ? change.begin : run.begin;
            change.end = run.end;
        }
    });
    if (p.over_mappings_) {
        return apply_access_over_mappings(p, distrust);
    }
    if (failed == 0 && !change.is_empty()) {
        failed = distrust ? protect_unsure(p.index_, change, p.kernel_, false)
                          : prim::protect(change.begin, change.size(), p.kernel_);
        if (failed != 0 && !distrust) {
            restore_access(p.index_, change, false, false);
        }
        if (failed != 0) {
            mark_pages(change, p.index_, true);
        }
    }
    return failed == 0 ? result<void>{} : from_os(failed);
}

// The same where the program has mappings of its own among the pages: a protect changes their access
// as the program's call would, a commit takes the pages back, and does so last, because a mapping
// once replaced cannot be put back.
result<void> address_space::apply_access_over_mappings(const planned& p, bool distrust) noexcept {
    const bool commits = p.kind_ == planned::kind::commit;
    saved_access<16> theirs;
    int failed = 0;
    map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
        if (code == page_code::replaced && !commits && failed == 0) {
            failed = theirs.save(run);
        }
    });
    if (failed != 0) {
        return from_os(failed);
    }
    map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
        if (failed == 0 && !(commits && code == page_code::replaced)) {
            failed = prim::protect(run.begin, run.size(), p.kernel_);
        }
        if (failed == 0 && p.guarded_ && is_reserved(code)) {
            failed = unmark(p, run);
        }
    });
    if (failed == 0 && commits) {
        failed = replace_mappings(p.span_, p.kernel_);
    }
    if (failed != 0) {
        if (p.guarded_ && !p.relaxed_ && mark_again(p.span_) != 0) {
            map_.at(p.index_).flags.fetch_or(may_be_open, std::memory_order_acq_rel);
        }
        restore_access(p.index_, p.span_, distrust, p.guarded_);
        static_cast<void>(theirs.put_back());
    }
    return failed == 0 ? result<void>{} : from_os(failed);
}

int address_space::replace_mappings(range span, access allowed) noexcept {
    int failed = 0;
    map_.for_each_run(span, [&](range run, page_code code, bool) {
        if (failed == 0 && code == page_code::replaced) {
            failed = prim::replace_by_anonymous(run.begin, run.size(), allowed);
        }
    });
    return failed;
}

// Gives every run the access its code asks for. Runs of one access in one call: where they are one
// mapping, giving it back in parts would need more mappings than there were. At the mapping limit the
// refused call may have used up the one that putting back needs: then the ballast is given up for it.
// Where that is gone too, or others took what it gave, no code of a reserved page is trusted any more.
void address_space::restore_access(std::uint32_t index, range span, bool distrust,
                                   bool guarded) noexcept {
    const auto restore = [&] {
        bool all = true;
        range part{span.begin, span.begin};
        access wanted = access::none;
        const auto put_back = [&] {
            all = (part.is_empty() || prim::protect(part.begin, part.size(), wanted) == 0) && all;
            part.begin = part.end;
        };
        map_.for_each_run(span, [&](range run, page_code code, bool) {
            const bool leave = code == page_code::replaced || (distrust && is_reserved(code));
            if (leave || part.end != run.begin || kernel_access(code, guarded) != wanted) {
                put_back();
            }
            if (!leave) {
                part = {part.is_empty() ? run.begin : part.begin, run.end};
                wanted = kernel_access(code, guarded);
            }
        });
        put_back();
        return all;
    };
    if (!restore() && (!drop_ballast() || !restore())) {
        map_.at(index).flags.fetch_or(may_be_open, std::memory_order_acq_rel);
    }
}

result<void> address_space::apply_discard(const planned& p) noexcept {
    constexpr std::uint32_t keeps_contents = watched | large_pages; // WW8; the kernel cannot
    if (p.lazily_ &&
        (map_.at(p.index_).flags.load(std::memory_order_acquire) & keeps_contents) != 0) {
        return {};
    }
    int failed = 0;
    map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
        if (!is_charged(code)) {
            return;
        }
        if (p.lazily_ && !is_program_writable(code)) {
            return; // A18 could not take it back
        }
        if (p.lazily_) {
            // Best effort: contents may stay, so a refusal changes nothing that was promised.
            static_cast<void>(prim::discard_lazily(run.begin, run.size()));
        } else if (const int e = prim::discard(run.begin, run.size()); e != 0 && failed == 0) {
            failed = e;
        }
    });
    return failed == 0 ? result<void>{} : from_os(failed);
}

// A page that the kernel may drop is clean, and dropped it is away. So: all are there now; each is made
// dirty, which keeps it; and had one gone in between, making it dirty would have been a page fault of
// this thread. Any other fault looks the same, and refuses too.
result<void> address_space::apply_undo_discard(const planned& p) noexcept {
    constexpr std::uint32_t keeps_contents = watched | large_pages;
    if ((map_.at(p.index_).flags.load(std::memory_order_acquire) & keeps_contents) != 0) {
        return {}; // nothing was given up (apply_discard)
    }
    bool is_whole = true;
    const auto look = [&](bool keep) {
        map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
            if (is_charged(code)) {
                // What cannot be written to was not given up like this, but may have been before.
                is_whole = is_whole && is_program_writable(code) && prim::all_present(run);
                for (address a = run.begin; keep && is_whole && a < run.end; a += page_size) {
                    prim::make_dirty(a);
                }
            }
        });
        return prim::own_page_faults();
    };
    // Once for nothing: all of this code is there then, and faults no more.
    std::uint64_t own = 0;
    prim::make_dirty(reinterpret_cast<address>(&own));
    const long faults = look(false);
    is_whole = is_whole && faults >= 0 && look(true) == faults;
    return is_whole ? result<void>{} : errc::invalid_address;
}

range address_space::used_hull(const planned& p) const noexcept {
    const range span = p.span_;
    const auto is_used = [](page_code code) {
        return is_committed(code) || code == page_code::reserved_writable;
    };
    if ((map_.at(p.index_).flags.load(std::memory_order_acquire) & may_be_open) != 0 ||
        (p.is_uniform_ && is_used(p.old_code_))) {
        return span;
    }
    if (p.is_uniform_) {
        return {};
    }
    range hull{span.end, span.begin};
    map_.for_each_run(span, [&](range run, page_code code, bool) {
        if (is_used(code)) {
            hull.begin = hull.begin < run.begin ? hull.begin : run.begin;
            hull.end = run.end;
        }
    });
    return hull.is_empty() ? range{} : hull;
}

// Contents first, access second: while contents cannot be dropped nothing has changed, and once they
// are dropped the decommit is done, whatever happens to the access (reserved_writable).
result<void> address_space::apply_decommit(planned& p) noexcept {
    if (p.guarded_) {
        return apply_decommit_guarded(p);
    }
    const range hull = used_hull(p);
    if (hull.is_empty()) {
        return {};
    }
    unlock_before_dropping(hull, map_.at(p.index_).flags.load(std::memory_order_acquire));
    if ((map_.at(p.index_).flags.load(std::memory_order_acquire) & holds_mappings) != 0) {
        // One by one, or the whole at once, which needs no new mapping.
        if (replace_mappings(hull, access::none) != 0) {
            const int e = prim::replace_by_reserved(hull.begin, hull.size());
            return e == 0 ? result<void>{} : from_os(e);
        }
    }
    if (prim::discard(hull.begin, hull.size()) != 0) {
        const int e = prim::replace_by_reserved(hull.begin, hull.size());
        return e == 0 ? result<void>{} : from_os(e);
    }
    p.stuck_ = prim::protect(hull.begin, hull.size(), access::none) != 0;
    return {};
}

// ---- keep ---------------------------------------------------------------------------------------

void address_space::keep(planned& p) noexcept {
    if (p.spare_table_ != 0) {
        // Before the claim ends. The number of pieces does not grow, so there is room.
        static_cast<void>(change_piece(p));
    }
    if (p.living_delta_ != 0) {
        const auto delta = static_cast<page_count>(p.living_delta_);
        p.emptied_ =
            map_.at(p.index_).living.fetch_add(delta, std::memory_order_acq_rel) + delta == 0;
    }
    switch (p.kind_) {
    case planned::kind::reserve: map_.install(p.index_, p.target_); break;
    case planned::kind::replace:
        map_.at(p.index_).flags.fetch_or(holds_mappings, std::memory_order_acq_rel);
        map_.publish(p.span_, p.target_, false);
        break;
    case planned::kind::commit: map_.publish(p.span_, p.target_, true); break;
    case planned::kind::protect:
        map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
            map_.publish(run, code == page_code::replaced ? code : p.target_, true);
        });
        break;
    case planned::kind::discard:
    case planned::kind::undo_discard:
    case planned::kind::reshape: map_.unclaim(p.span_); break;
    case planned::kind::decommit: keep_decommit(p); break;
    case planned::kind::release: keep_release(p); break;
    case planned::kind::none: break;
    }
    p.kind_ = planned::kind::none;
}

void address_space::keep_emptied(planned& p) noexcept {
    p.stuck_ = prim::protect(p.span_.begin, p.span_.size(), access::none) != 0;
    keep(p);
}

void address_space::keep_decommit(planned& p) noexcept {
    mark_pages(p.span_, p.index_, false); // WW7
    if (!p.stuck_ && !p.bare_) {
        map_.publish(p.span_, p.target_, false);
        return;
    }
    if (p.guarded_) {
        keep_decommit_guarded(p);
        return;
    }
    // One call for the whole was too much for the mapping limit: run by run. What still cannot be
    // closed is empty; where it is writable it counts as slack until the next commit or release.
    map_.at(p.index_).flags.fetch_or(may_be_open, std::memory_order_acq_rel);
    map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
        if (kernel_access(code, false) == access::none ||
            prim::protect(run.begin, run.size(), access::none) == 0) {
            map_.publish(run, p.target_, false);
            return;
        }
        if (p.target_ == page_code::dead) {
            map_.at(p.index_).living.fetch_add(run.pages(), std::memory_order_acq_rel);
            p.emptied_ = false;
        }
        const bool writable = is_kernel_writable(code, false);
        p.diff_.writable += writable ? static_cast<std::int64_t>(run.pages()) : 0;
        p.diff_.slack += writable ? static_cast<std::int64_t>(run.pages()) : 0;
        map_.publish(run, writable ? page_code::reserved_writable : page_code::reserved, false);
    });
}

// The reservation leaves the map before its addresses can be used by anybody else; what the kernel
// will not take back now is owed and stays out of use.
void address_space::keep_release(planned& p) noexcept {
    reservation& r = map_.at(p.index_);
    const range used = used_hull(p);
    // Pages that what happens here takes out of the writable ones, or (guarded) into them.
    page_count moved = 0;
    const std::uint32_t flags = r.flags.load(std::memory_order_acquire);
    bool is_read_write = p.guarded_ && (flags & may_be_open) == 0;
    const auto add = [&](range run, page_code code, bool) {
        moved += is_kernel_writable(code, p.guarded_) != p.guarded_ ? run.pages() : 0;
        is_read_write = is_read_write && kernel_access(code, true) == access::read_write;
    };
    if (p.is_uniform_) {
        add(p.span_, p.old_code_, false);
    } else {
        map_.for_each_run(p.span_, add);
    }
    unlock_before_dropping(used, flags);
    map_.remove(p.index_);
    end_fault_watch(p.index_);
    if ((flags & placeholder) != 0) {
        pieces_.end(r);
    }
    if (return_space(r, used, is_read_write)) {
        map_.forget(p.index_);
        return;
    }
    r.living.store(moved, std::memory_order_relaxed); // reused: what is owed to the books
    const auto more = static_cast<std::int64_t>(moved) * (p.guarded_ ? -1 : 1);
    p.diff_.writable += more;
    p.diff_.slack += more;
    owe(p.index_);
}

} // namespace memreeve::vm
