// SPDX-License-Identifier: MIT
// Pages of guarded reservations: their mapping is read-write and what is not committed carries a
// marker (page_state.hpp), so that to commit is to take markers off and to decommit is to put them on,
// one call each, and the number of the kernel's mappings stays what it is.
#include "prim/prim.hpp"
#include "vm/address_space.hpp"
#include "vm/saved_access.hpp"

namespace memreeve::vm {

namespace {

void extend(range& hull, range run) noexcept {
    hull.begin = hull.begin < run.begin ? hull.begin : run.begin;
    hull.end = run.end;
}

int put_markers(range r) noexcept {
    const int e = prim::install_guard(r.begin, r.size());
    // What the program has locked takes no marker.
    return e == 22 /* EINVAL */ && prim::unlock(r.begin, r.size()) == 0
               ? prim::install_guard(r.begin, r.size())
               : e;
}

} // namespace

// Makes `hull` what reserved pages are. Contents go first, so that a failure leaves nothing that
// anybody could read.
int address_space::cover(range hull, bool is_read_write) noexcept {
    const int e = put_markers(hull);
    return e != 0 || is_read_write ? e : prim::protect(hull.begin, hull.size(), access::read_write);
}

// The markers first: a refusal of the access (the mapping limit) then has changed nothing but them, and
// where they lay they can be put on again.
result<void> address_space::apply_access_guarded(planned& p) noexcept {
    const bool commits = p.kind_ == planned::kind::commit;
    if (arena* home = commits && p.kernel_ == access::read_write ? warm_home(p) : nullptr;
        home != nullptr) {
        const int e = wake(*home, p.index_, p.span_);
        return e == 0 ? result<void>{} : from_os(e);
    }
    if (commits) {
        cool(p);
    }
    std::atomic<std::uint32_t>& flags = map_.at(p.index_).flags;
    const bool distrust = (flags.load(std::memory_order_acquire) & may_be_open) != 0;
    range change{p.span_.end, p.span_.begin};
    range marked = change;
    bool is_unsure = false;
    int failed = 0;
    const auto look = [&](range run, page_code code, bool) {
        const bool unsure = is_reserved(code) && (distrust || code == page_code::reserved_writable);
        if (commits && unsure && failed == 0) {
            failed = prim::discard(run.begin, run.size());
        }
        if (code == page_code::replaced) {
            p.over_mappings_ = true;
            return;
        }
        is_unsure = is_unsure || unsure;
        if (kernel_access(code, true) != p.kernel_ || unsure) {
            extend(change, run);
        }
        if (is_reserved(code)) {
            extend(marked, run);
        }
    };
    if (p.is_uniform_) {
        look(p.span_, p.old_code_, false);
    } else {
        map_.for_each_run(p.span_, look);
    }
    if (p.over_mappings_) {
        return apply_access_over_mappings(p, distrust);
    }
    if (failed == 0 && !marked.is_empty()) {
        failed = unmark(p, marked);
    }
    if (failed != 0) {
        marked = {};
    }
    if (failed == 0 && !change.is_empty()) {
        failed = is_unsure ? protect_unsure(p.index_, change, p.kernel_, true)
                           : prim::protect(change.begin, change.size(), p.kernel_);
        if (failed != 0 && !is_unsure) {
            restore_access(p.index_, change, false, true);
        }
        if (failed != 0 && !marked.is_empty() && !p.relaxed_ && mark_again(marked) != 0) {
            flags.fetch_or(may_be_open, std::memory_order_acq_rel);
        }
    }
    return failed == 0 ? result<void>{} : from_os(failed);
}

// Pages that the kernel would not hold as their codes say: how it holds them, only it can tell. Where it
// does not tell, or they are too many pieces, what is put back is what the codes say.
[[gnu::noinline]] int address_space::protect_unsure(std::uint32_t index, range change,
                                                    access allowed, bool guarded) noexcept {
    saved_access<most_saved> before;
    const bool is_saved = before.save(change) == 0;
    const int e = prim::protect(change.begin, change.size(), allowed);
    if (e != 0 && !is_saved) {
        restore_access(index, change, true, guarded);
    } else if (e != 0 && !before.put_back() && (!drop_ballast() || !before.put_back())) {
        map_.at(index).flags.fetch_or(may_be_open, std::memory_order_acq_rel);
    }
    return e;
}

// Back on the reserved pages of `span`, which the caller has claimed.
int address_space::mark_again(range span) noexcept {
    int failed = 0;
    map_.for_each_run(span, [&](range run, page_code code, bool) {
        if (is_reserved(code)) {
            const int e = put_markers(run);
            failed = failed != 0 ? failed : e;
        }
    });
    return failed;
}

// Contents first, as in a plain reservation. Without markers (the kernel has no memory for them) what
// was committed is closed by its access instead.
result<void> address_space::apply_decommit_guarded(planned& p) noexcept {
    const range hull = used_hull(p);
    if (hull.is_empty()) {
        return {};
    }
    p.hull_ = hull;
    const std::uint32_t flags = map_.at(p.index_).flags.load(std::memory_order_acquire);
    unlock_before_dropping(hull, flags);
    bool is_read_write = (flags & may_be_open) == 0;
    const auto look = [&](range, page_code code, bool) {
        is_read_write = is_read_write && kernel_access(code, true) == access::read_write;
    };
    if (p.is_uniform_) {
        look(hull, p.old_code_, false);
    } else {
        map_.for_each_run(hull, look);
    }
    const auto replace_all = [&]() -> result<void> {
        p.bare_ = true;
        const int e = prim::replace_by_reserved(hull.begin, hull.size());
        return e == 0 ? result<void>{} : from_os(e);
    };
    // One by one, or the whole at once, which needs no new mapping.
    if ((flags & holds_mappings) != 0 && replace_mappings(hull, access::none) != 0) {
        return replace_all();
    }
    if (p.relaxed_) {
        loosen(*home_of(map_.at(p.index_)), hull);
    }
    if (!p.relaxed_ && decommit_warm(p, is_read_write)) {
        return {};
    }
    if (p.relaxed_ || put_markers(hull) == 0) {
        p.stuck_ =
            !is_read_write && prim::protect(hull.begin, hull.size(), access::read_write) != 0;
        return {};
    }
    if (prim::discard(hull.begin, hull.size()) != 0) {
        return replace_all();
    }
    p.bare_ = true;
    p.stuck_ = prim::protect(hull.begin, hull.size(), access::none) != 0;
    return {};
}

// The kernel did not do all of it in one call: run by run. Everything is empty by now. What is neither
// closed nor as the rest may not be trusted, and where it is writable the books say so.
void address_space::keep_decommit_guarded(planned& p) noexcept {
    if (p.warm_) {
        set_warm(*home_of(map_.at(p.index_)), p.span_, true);
    }
    const access wanted = p.bare_ ? access::none : access::read_write;
    map_.for_each_run(p.span_, [&](range run, page_code code, bool) {
        if (!p.hull_.contains(run)) {
            map_.publish(run, p.target_, false); // reserved before, and marked
            return;
        }
        if (!p.stuck_ || prim::protect(run.begin, run.size(), wanted) == 0) {
            publish_decommitted(p, run, !p.bare_);
            return;
        }
        // A refused call may have changed some of it.
        for (address at = run.begin; at < run.end; at += page_size) {
            const bool done = prim::protect(at, page_size, wanted) == 0;
            const bool is_writable = done ? !p.bare_ : is_kernel_writable(code, true);
            if (!done && (p.bare_ || is_writable)) {
                map_.at(p.index_).flags.fetch_or(may_be_open, std::memory_order_acq_rel);
            }
            publish_decommitted(p, {at, at + page_size}, is_writable);
        }
    });
}

void address_space::publish_decommitted(planned& p, range run, bool is_writable) noexcept {
    if (is_writable) {
        map_.publish(run, p.target_, false);
        return;
    }
    p.diff_.writable -= static_cast<std::int64_t>(run.pages());
    p.diff_.slack -= static_cast<std::int64_t>(run.pages());
    if (p.target_ == page_code::dead) {
        map_.at(p.index_).living.fetch_add(run.pages(), std::memory_order_acq_rel);
        p.emptied_ = false;
    }
    map_.publish(run, page_code::reserved_writable, false);
}

} // namespace memreeve::vm
