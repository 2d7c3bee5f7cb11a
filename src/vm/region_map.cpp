// SPDX-License-Identifier: MIT
#include "vm/region_map.hpp"

#include "base/check.hpp"

namespace memreeve::vm {

using namespace map_detail;

void region_map::open(word* root, record_array* nodes, record_array* reservations) noexcept {
    root_ = root;
    nodes_ = nodes;
    reservations_ = reservations;
}

region_map::word* region_map::node_words(std::uint64_t w) const noexcept {
    return static_cast<word*>(nodes_->at(version_of(w)));
}

// The deepest entry that covers `a`.
region_map::cursor region_map::descend(address a) const noexcept {
    word* words = root_;
    for (unsigned level = 0; level < 3; ++level) {
        word* entry = words + slot_of(a, level);
        const std::uint64_t w = entry->load(std::memory_order_acquire);
        if (kind_of(w) != kind::node) {
            const address begin = a & ~(span_at(level) - 1);
            return {entry, nullptr, level, {begin, begin + span_at(level)}};
        }
        words = node_words(w);
    }
    const address begin = a & ~(granule_size - 1);
    return {nullptr,
            reinterpret_cast<leaf_entry*>(words) + slot_of(a, 3),
            3,
            {begin, begin + granule_size}};
}

// ---- records ----------------------------------------------------------------------------------
// Free records form stacks; the tag in the head's upper half defeats ABA.

std::uint32_t region_map::take_node(unsigned child_level) noexcept {
    std::atomic<std::uint64_t>& head = free_nodes_[child_level];
    std::uint64_t seen = head.load(std::memory_order_acquire);
    while (static_cast<std::uint32_t>(seen) != 0) {
        const auto index = static_cast<std::uint32_t>(seen);
        auto* words = static_cast<word*>(nodes_->at(index));
        const std::uint64_t next = words[0].load(std::memory_order_relaxed) & 0xffffffff;
        if (head.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | next,
                                       std::memory_order_acq_rel)) {
            words[0].store(0, std::memory_order_relaxed);
            return index;
        }
    }
    return nodes_->take(units_at(child_level));
}

// The node was never reachable.
void region_map::give_node(std::uint32_t index, unsigned child_level) noexcept {
    auto* words = static_cast<word*>(nodes_->at(index));
    const std::uint32_t count = units_at(child_level) * node_unit / sizeof(word);
    for (std::uint32_t i = 1; i < count; ++i) {
        words[i].store(0, std::memory_order_relaxed);
    }
    std::atomic<std::uint64_t>& head = free_nodes_[child_level];
    std::uint64_t seen = head.load(std::memory_order_acquire);
    do {
        words[0].store(seen & 0xffffffff, std::memory_order_relaxed);
    } while (!head.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | index,
                                         std::memory_order_acq_rel));
}

// Replaces an empty or uniform entry by a node whose entries say the same. False: it changed
// meanwhile (look again), or no_memory.
bool region_map::split(word& w, std::uint64_t seen, unsigned level, bool& no_memory) noexcept {
    const unsigned child = level + 1;
    const std::uint32_t index = take_node(child);
    no_memory = index == 0;
    if (no_memory) {
        return false;
    }
    if (kind_of(seen) == kind::uniform) {
        const page_code code = code_of(seen);
        auto* words = static_cast<word*>(nodes_->at(index));
        for (std::uint32_t i = 0; i < entries_at(child); ++i) {
            if (child < 3) {
                words[i].store(uniform_word(owner_of(seen), code, 0) | (seen & inherited_bit),
                               std::memory_order_relaxed);
            } else {
                auto& leaf = reinterpret_cast<leaf_entry*>(words)[i];
                const std::uint64_t inherited = (seen & inherited_bit) != 0 ? 0xffff : 0;
                leaf.codes.store(pattern(code), std::memory_order_relaxed);
                leaf.meta.store(meta_word(owner_of(seen), 0) | inherited << 16,
                                std::memory_order_relaxed);
            }
        }
    }
    if (!w.compare_exchange_strong(seen, node_word(index), std::memory_order_acq_rel)) {
        give_node(index, child);
        return false;
    }
    return true;
}

// ---- readers ----------------------------------------------------------------------------------

bool region_map::live_run(found& out, address a) const noexcept {
    const cursor c = descend(a);
    std::uint64_t before = 0;
    std::uint64_t codes = 0;
    std::uint32_t index = 0;
    page_code code = page_code::outside;
    if (c.leaf == nullptr) {
        before = c.upper->load(std::memory_order_acquire);
        if (kind_of(before) == kind::node) {
            return false;
        }
        index = kind_of(before) == kind::uniform ? owner_of(before) : 0;
        code = code_of(before);
    } else {
        before = c.leaf->meta.load(std::memory_order_acquire);
        codes = c.leaf->codes.load(std::memory_order_acquire);
        index = meta_owner(before);
        code = code_at(codes, static_cast<unsigned>((a - c.span.begin) >> page_shift));
    }
    out = {};
    out.at = a;
    if (index == 0 || code == page_code::outside) {
        return true;
    }
    const reservation& r = at(index);
    const std::uint32_t life = r.life.load(std::memory_order_acquire);
    if (static_cast<reservation_stage>(life & 3) != reservation_stage::live) {
        return true; // free to everybody but its maker
    }
    out.whole = r.where();
    out.protect = r.protect.load(std::memory_order_relaxed);
    out.owner = static_cast<owner_id>(r.owner.load(std::memory_order_relaxed));
    out.tag = r.tag.load(std::memory_order_relaxed);
    out.flags = r.flags.load(std::memory_order_relaxed);
    const auto same_entry = [&] {
        if (c.leaf == nullptr) {
            const std::uint64_t now = c.upper->load(std::memory_order_acquire);
            return (now & ~claimed_bit) == (before & ~claimed_bit);
        }
        const std::uint64_t now = c.leaf->meta.load(std::memory_order_acquire);
        return meta_owner(now) == index && meta_version(now) == meta_version(before);
    };
    if (!same_entry() || !out.whole.contains(a)) {
        return false;
    }
    const auto alike = [code](page_code other) {
        return other == code || (is_reserved(other) && is_reserved(code)); // rule Q8
    };
    address end = a;
    while (end < out.whole.end) {
        const cursor n = descend(end);
        const range part = clip({end, n.span.end}, out.whole);
        if (n.leaf == nullptr) {
            const std::uint64_t w = n.upper->load(std::memory_order_acquire);
            if (kind_of(w) == kind::node) {
                continue; // split while we looked
            }
            if (kind_of(w) != kind::uniform || owner_of(w) != index || !alike(code_of(w))) {
                break;
            }
            end = part.end;
            continue;
        }
        const std::uint64_t now =
            n.leaf == c.leaf ? codes : n.leaf->codes.load(std::memory_order_acquire);
        if (now == pattern(code)) {
            end = part.end;
            continue;
        }
        while (end < part.end &&
               alike(code_at(now, static_cast<unsigned>((end - n.span.begin) >> page_shift)))) {
            end += page_size;
        }
        if (end < part.end) {
            break;
        }
    }
    if (r.life.load(std::memory_order_acquire) != life || end == a) {
        return false;
    }
    out.index = index;
    out.life = life;
    out.code = code;
    out.run_end = end;
    return true;
}

found region_map::find(address a) const noexcept {
    a = round_down(a, page_size);
    found out;
    // Each failed round means that somebody else made progress just there.
    while (!live_run(out, a)) {
    }
    return out;
}

address region_map::next_base(address a, address limit) const noexcept {
    for (address p = round_down(a, granule_size); p < limit;) {
        const cursor c = descend(p);
        std::uint32_t index = 0;
        if (c.leaf == nullptr) {
            const std::uint64_t w = c.upper->load(std::memory_order_acquire);
            if (kind_of(w) == kind::node) {
                continue;
            }
            index = kind_of(w) == kind::uniform ? owner_of(w) : 0;
        } else {
            index = meta_owner(c.leaf->meta.load(std::memory_order_acquire));
        }
        if (index != 0) {
            const reservation& r = at(index);
            const std::uint32_t life = r.life.load(std::memory_order_acquire);
            const address base = r.base();
            if (static_cast<reservation_stage>(life & 3) == reservation_stage::live &&
                r.life.load(std::memory_order_acquire) == life && base >= a && base < limit) {
                return base;
            }
        }
        p = c.span.end;
    }
    return limit;
}

// ---- making and removing ------------------------------------------------------------------------

std::uint32_t region_map::make(range where, owner_id owner, std::uint32_t protect,
                               std::uint32_t flags, std::uint64_t tag) noexcept {
    std::uint32_t index = 0;
    std::uint64_t seen = free_reservations_.load(std::memory_order_acquire);
    while (static_cast<std::uint32_t>(seen) != 0) {
        index = static_cast<std::uint32_t>(seen);
        const std::uint32_t next = at(index).link.load(std::memory_order_relaxed);
        if (free_reservations_.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | next,
                                                     std::memory_order_acq_rel)) {
            break;
        }
        index = 0;
    }
    if (index == 0) {
        index = reservations_->take(1);
        if (index == 0 || index > 0xffffff) {
            return 0;
        }
    }
    reservation& r = at(index);
    const std::uint32_t life = r.life.load(std::memory_order_relaxed);
    r.life.store(((life >> 2) + 1) << 2 | static_cast<std::uint32_t>(reservation_stage::building),
                 std::memory_order_release);
    r.owner.store(static_cast<std::uint32_t>(owner), std::memory_order_relaxed);
    r.protect.store(protect, std::memory_order_relaxed);
    r.tag.store(tag, std::memory_order_relaxed);
    r.link.store(0, std::memory_order_relaxed);
    r.flags.store(flags, std::memory_order_relaxed);
    place(index, where);
    return index;
}

void region_map::place(std::uint32_t index, range where) noexcept {
    reservation& r = at(index);
    r.base_granule.store(static_cast<std::uint32_t>(where.begin >> granule_shift),
                         std::memory_order_relaxed);
    r.pages.store(where.pages(), std::memory_order_relaxed);
    r.living.store(where.pages(), std::memory_order_relaxed);
}

void region_map::forget(std::uint32_t index) noexcept {
    reservation& r = at(index);
    r.life.store((r.life.load(std::memory_order_relaxed) & ~3U) |
                     static_cast<std::uint32_t>(reservation_stage::free),
                 std::memory_order_release);
    std::uint64_t seen = free_reservations_.load(std::memory_order_acquire);
    do {
        r.link.store(static_cast<std::uint32_t>(seen), std::memory_order_relaxed);
    } while (!free_reservations_.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | index,
                                                       std::memory_order_acq_rel));
}

// Only the two ends of a range need nodes: what lies between is covered by whole entries.
bool region_map::prepare(range where) noexcept {
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        if (c.leaf == nullptr && !where.contains(c.span)) {
            bool no_memory = false;
            const std::uint64_t w = c.upper->load(std::memory_order_acquire);
            if (kind_of(w) != kind::node && !split(*c.upper, w, c.level, no_memory) && no_memory) {
                return false;
            }
            continue;
        }
        a = c.span.end;
    }
    return true;
}

void region_map::install(std::uint32_t index, page_code code) noexcept {
    reservation& r = at(index);
    const range where = r.where();
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        const range part = clip(c.span, where);
        if (c.leaf == nullptr) {
            std::uint64_t seen = c.upper->load(std::memory_order_acquire);
            if (kind_of(seen) == kind::node ||
                !c.upper->compare_exchange_strong(seen,
                                                  uniform_word(index, code, version_of(seen) + 1),
                                                  std::memory_order_acq_rel)) {
                continue;
            }
        } else {
            c.leaf->codes.store(pattern(code) & spread(page_mask(part, c.span.begin)),
                                std::memory_order_release);
            const std::uint64_t version =
                meta_version(c.leaf->meta.load(std::memory_order_relaxed));
            c.leaf->meta.store(meta_word(index, version + 1), std::memory_order_release);
        }
        a = part.end;
    }
    live_.fetch_add(1, std::memory_order_relaxed);
    r.life.store((r.life.load(std::memory_order_relaxed) & ~3U) |
                     static_cast<std::uint32_t>(reservation_stage::live),
                 std::memory_order_release);
}

void region_map::remove(std::uint32_t index) noexcept {
    reservation& r = at(index);
    const range where = r.where();
    const std::uint32_t life = r.life.load(std::memory_order_relaxed);
    if (static_cast<reservation_stage>(life & 3) == reservation_stage::building) {
        return; // never installed
    }
    live_.fetch_sub(1, std::memory_order_relaxed);
    r.life.store((life & ~3U) | static_cast<std::uint32_t>(reservation_stage::going),
                 std::memory_order_release);
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        if (c.leaf == nullptr) {
            const std::uint64_t w = c.upper->load(std::memory_order_acquire);
            if (kind_of(w) == kind::uniform && owner_of(w) == index) {
                c.upper->store(empty_word(version_of(w) + 1), std::memory_order_release);
            }
        } else {
            const std::uint64_t m = c.leaf->meta.load(std::memory_order_relaxed);
            if (meta_owner(m) == index) {
                c.leaf->meta.store(meta_word(0, meta_version(m) + 1), std::memory_order_release);
                c.leaf->codes.store(0, std::memory_order_release);
            }
        }
        a = c.span.end;
    }
}

// ---- claims -------------------------------------------------------------------------------------

claim_outcome region_map::claim(std::uint32_t index, std::uint32_t life, range where) noexcept {
    claim_outcome outcome = claim_outcome::claimed;
    address a = where.begin;
    while (a < where.end) {
        const cursor c = descend(a);
        const range part = clip(c.span, where);
        if (c.leaf == nullptr) {
            std::uint64_t seen = c.upper->load(std::memory_order_acquire);
            if (kind_of(seen) == kind::node) {
                continue;
            }
            if (kind_of(seen) != kind::uniform || owner_of(seen) != index) {
                outcome = claim_outcome::changed;
                break;
            }
            if ((seen & claimed_bit) != 0) {
                outcome = claim_outcome::busy;
                break;
            }
            if (!(part == c.span)) {
                bool no_memory = false;
                if (!split(*c.upper, seen, c.level, no_memory) && no_memory) {
                    outcome = claim_outcome::no_memory;
                    break;
                }
                continue;
            }
            if (!c.upper->compare_exchange_strong(seen, seen | claimed_bit,
                                                  std::memory_order_acq_rel)) {
                continue;
            }
        } else {
            const std::uint64_t mask = page_mask(part, c.span.begin);
            std::uint64_t seen = c.leaf->meta.load(std::memory_order_acquire);
            if (meta_owner(seen) != index) {
                outcome = claim_outcome::changed;
                break;
            }
            if ((meta_claims(seen) & mask) != 0) {
                outcome = claim_outcome::busy;
                break;
            }
            if (!c.leaf->meta.compare_exchange_strong(seen, seen | mask,
                                                      std::memory_order_acq_rel)) {
                continue;
            }
        }
        a = part.end;
    }
    if (outcome == claim_outcome::claimed &&
        at(index).life.load(std::memory_order_acquire) == life) {
        return claim_outcome::claimed;
    }
    unclaim({where.begin, a});
    return outcome == claim_outcome::claimed ? claim_outcome::changed : outcome;
}

void region_map::unclaim(range where) noexcept {
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        const range part = clip(c.span, where);
        if (c.leaf == nullptr) {
            c.upper->fetch_and(~claimed_bit, std::memory_order_acq_rel);
        } else {
            c.leaf->meta.fetch_and(~page_mask(part, c.span.begin), std::memory_order_acq_rel);
        }
        a = part.end;
    }
}

void region_map::publish(range where, page_code code, bool keep_inherited) noexcept {
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        const range part = clip(c.span, where);
        if (c.leaf == nullptr) {
            const std::uint64_t w = c.upper->load(std::memory_order_acquire);
            check((w & claimed_bit) != 0, "only claimed pages change their state");
            const std::uint64_t inherited = keep_inherited ? w & inherited_bit : 0;
            c.upper->store(uniform_word(owner_of(w), code, version_of(w)) | inherited,
                           std::memory_order_release);
        } else {
            const std::uint64_t mask = page_mask(part, c.span.begin);
            check((c.leaf->meta.load(std::memory_order_relaxed) & mask) == mask,
                  "only claimed pages change their state");
            const std::uint64_t wide = spread(mask);
            std::uint64_t codes = c.leaf->codes.load(std::memory_order_relaxed);
            while (!c.leaf->codes.compare_exchange_weak(
                codes, (codes & ~wide) | (pattern(code) & wide), std::memory_order_acq_rel)) {
            }
            c.leaf->meta.fetch_and(~(keep_inherited ? mask : mask | mask << 16),
                                   std::memory_order_acq_rel);
        }
        a = part.end;
    }
}

// ---- invariants -----------------------------------------------------------------------------------

const char* region_map::check_invariants() const noexcept {
    const char* wrong = nullptr;
    const auto complain = [&](const char* what) {
        if (wrong == nullptr) {
            wrong = what;
        }
    };
    const auto visit = [&](const cursor& c) {
        const std::uint64_t w = c.leaf == nullptr ? c.upper->load(std::memory_order_acquire)
                                                  : c.leaf->meta.load(std::memory_order_acquire);
        const std::uint32_t index = c.leaf == nullptr ? owner_of(w) : meta_owner(w);
        if (index == 0) {
            if (c.leaf != nullptr && c.leaf->codes.load(std::memory_order_acquire) != 0) {
                complain("a granule without a reservation has no page states");
            }
            return;
        }
        if (index >= reservations_->used() || at(index).stage() != reservation_stage::live) {
            complain("an entry names a live reservation");
            return;
        }
        const range where = at(index).where();
        if (c.leaf == nullptr) {
            if (!where.contains(c.span)) {
                complain("a uniform entry lies wholly inside its reservation");
            }
            if (code_of(w) == page_code::outside || (w & claimed_bit) != 0) {
                complain("a uniform entry has a page state and, at rest, no claim");
            }
            return;
        }
        if (meta_claims(w) != 0) {
            complain("at rest no page is claimed");
        }
        const std::uint64_t codes = c.leaf->codes.load(std::memory_order_acquire);
        for (unsigned page = 0; page < pages_per_granule; ++page) {
            const bool inside = where.contains(c.span.begin + bytes_of(page));
            if (inside != (code_at(codes, page) != page_code::outside)) {
                complain("exactly the pages of the reservation have a state");
            }
        }
    };
    walk(root_, 0, 0, visit);
    std::uint32_t live = 0;
    for (std::uint32_t i = 1; i < reservations_->used(); ++i) {
        const reservation& r = at(i);
        if (r.stage() != reservation_stage::live) {
            continue;
        }
        ++live;
        page_count living = 0;
        for_each_run(r.where(), [&](range run, page_code code, bool) {
            living += code == page_code::dead ? 0 : run.pages();
        });
        if (living != r.living.load(std::memory_order_relaxed)) {
            complain("`living` counts the pages that are not dead");
        }
    }
    if (live != live_.load(std::memory_order_relaxed)) {
        complain("the number of live reservations is kept");
    }
    return wrong;
}

} // namespace memreeve::vm
