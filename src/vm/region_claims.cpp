// SPDX-License-Identifier: MIT
// region_map: claims on pages and how they end. The table of transitions is in region_map.hpp.
#include "base/check.hpp"
#include "vm/region_map.hpp"

namespace memreeve::vm {

using namespace map_detail;

void region_map::write(page_record& r, const granule_pages& g, std::uint32_t claims,
                       std::uint32_t generation, address granule) noexcept {
    // Release: a late reader of these finds that its word is there no more.
    r.meta.store(meta_word(claims, generation), std::memory_order_release);
    r.codes.store(g.codes, std::memory_order_release);
    r.home.store(home_word(g, granule), std::memory_order_release);
}

// `w` is not claimed, and a record at rest if it is a record.
region_map::step region_map::claim_some(word& entry, std::uint64_t w, const granule_pages& g,
                                        std::uint32_t pages, address granule,
                                        claim_outcome& outcome) noexcept {
    const page_records::id id = records_.take(purpose::claiming);
    if (id == 0) {
        outcome = claim_outcome::no_memory;
        return step::stop;
    }
    page_record& r = records_.at(id);
    const std::uint32_t generation = generation_of(r.meta.load(std::memory_order_relaxed));
    write(r, g, pages, generation, granule);
    std::uint64_t seen = w;
    if (!entry.compare_exchange_strong(seen, record_word(id, generation),
                                       std::memory_order_acq_rel)) {
        records_.give(id);
        return step::again;
    }
    if (kind_of(w) == kind::record) {
        records_.give(record_of(w));
    }
    return step::next;
}

region_map::step region_map::claim_granule(word& entry, std::uint64_t w, std::uint32_t index,
                                           std::uint32_t pages, address granule,
                                           claim_outcome& outcome) noexcept {
    const auto fails = [&outcome](claim_outcome why) {
        outcome = why;
        return step::stop;
    };
    if (w == 0) {
        return fails(claim_outcome::changed);
    }
    if (kind_of(w) != kind::record) {
        if (owner_of(place_of(w)) != index) {
            return fails(claim_outcome::changed);
        }
        if ((w & claimed_bit) != 0) {
            return fails(claim_outcome::busy);
        }
        if (pages == pages_in(place_of(w))) {
            return entry.compare_exchange_strong(w, w | claimed_bit, std::memory_order_acq_rel)
                       ? step::next
                       : step::again;
        }
        return claim_some(entry, w, unpack(w), pages, granule, outcome);
    }
    granule_pages g;
    std::uint64_t meta = 0;
    if (!read(entry, w, g, meta)) {
        return step::again;
    }
    if (owner_of(g.place) != index) {
        return fails(claim_outcome::changed);
    }
    if ((w & claimed_bit) != 0 || (claims_of(meta) & pages) != 0) {
        return fails(claim_outcome::busy);
    }
    if (claims_of(meta) != 0) {
        return records_.at(record_of(w))
                       .meta.compare_exchange_strong(meta, meta | pages, std::memory_order_acq_rel)
                   ? step::next
                   : step::again;
    }
    if (pages == pages_in(g.place)) {
        return entry.compare_exchange_strong(w, w | claimed_bit, std::memory_order_acq_rel)
                   ? step::next
                   : step::again;
    }
    if (pack(g) != 0) {
        tidy(entry, w); // for a thread that was suspended before it did
        return step::again;
    }
    return claim_some(entry, w, g, pages, granule, outcome);
}

namespace {

// Is `where` all that a uniform granule's word speaks of?
bool is_all_of(const std::uint64_t w, address granule, range where) noexcept {
    return kind_of(w) == kind::uniform && where.begin == granule &&
           where.size() == bytes_of(last_of(place_of(w)) + 1);
}

} // namespace

claim_outcome region_map::claim(std::uint32_t index, std::uint32_t life, range where) noexcept {
    claim_outcome outcome = claim_outcome::claimed;
    // The commonest: one granule as a whole, one word.
    if (const cursor c = descend(where.begin);
        c.level == granule_level && is_all_of(c.seen, c.begin, where)) {
        std::uint64_t w = c.seen;
        if ((w & claimed_bit) == 0 && owner_of(place_of(w)) == index &&
            c.entry->compare_exchange_strong(w, w | claimed_bit, std::memory_order_acq_rel)) {
            if (at(index).life.load(std::memory_order_acquire) == life) [[likely]] {
                return outcome;
            }
            c.entry->store(w, std::memory_order_release);
            return claim_outcome::changed;
        }
    }
    address done = where.begin;
    scan(where, [&](word& entry, std::uint64_t w, unsigned level, range span) {
        const range part = clip(span, where);
        step what = step::next;
        if (level == granule_level) {
            what = claim_granule(entry, w, index, page_mask(part, span.begin), span.begin, outcome);
        } else if (w == 0 || owner_of(place_of(w)) != index) {
            outcome = claim_outcome::changed;
            return step::stop;
        } else if ((w & claimed_bit) != 0) {
            outcome = claim_outcome::busy;
            return step::stop;
        } else if (!(part == span)) {
            bool no_memory = false;
            if (!split(entry, w, level, no_memory) && no_memory) {
                outcome = claim_outcome::no_memory;
                return step::stop;
            }
            return step::again;
        } else if (!entry.compare_exchange_strong(w, w | claimed_bit, std::memory_order_acq_rel)) {
            return step::again;
        }
        done = what == step::next ? part.end : done;
        return what;
    });
    if (outcome == claim_outcome::claimed &&
        at(index).life.load(std::memory_order_acquire) == life) {
        return claim_outcome::claimed;
    }
    unclaim({where.begin, done});
    return outcome == claim_outcome::claimed ? claim_outcome::changed : outcome;
}

// Packs a record at rest. Whoever does it, the word is the same.
void region_map::tidy(word& entry, std::uint64_t w) noexcept {
    granule_pages g;
    std::uint64_t meta = 0;
    if (!read(entry, w, g, meta) || claims_of(meta) != 0) {
        return;
    }
    const std::uint64_t packed = pack(g);
    if (packed != 0 && entry.compare_exchange_strong(w, packed, std::memory_order_acq_rel)) {
        records_.give(record_of(w));
    }
}

void region_map::end_claims(word& entry, std::uint64_t w, std::uint32_t pages) noexcept {
    std::atomic<std::uint64_t>& meta = records_.at(record_of(w)).meta;
    const std::uint64_t before = meta.fetch_and(~std::uint64_t{pages}, std::memory_order_acq_rel);
    if ((claims_of(before) & ~pages) == 0) {
        tidy(entry, w);
    }
}

// The caller holds the granule as a whole and keeps `claims` of it.
void region_map::keep_claims(word& entry, std::uint64_t w, const granule_pages& g,
                             std::uint32_t claims, address granule) noexcept {
    page_records::id id = 0;
    std::uint32_t generation = 0;
    if (kind_of(w) == kind::record) {
        id = record_of(w);
        generation = generation_of(w) + 1; // it was at rest: what was read of it is old now
    } else {
        id = records_.take(purpose::publishing);
        check(id != 0, "a claim ends in one piece where there are no records");
        generation = generation_of(records_.at(id).meta.load(std::memory_order_relaxed));
    }
    write(records_.at(id), g, claims, generation, granule);
    entry.store(record_word(id, generation), std::memory_order_release);
}

void region_map::unclaim_granule(word& entry, std::uint64_t w, std::uint32_t pages,
                                 address granule) noexcept {
    if ((w & claimed_bit) == 0) {
        if (kind_of(w) == kind::record) {
            end_claims(entry, w, pages);
        }
        return;
    }
    granule_pages g;
    std::uint64_t meta = 0;
    static_cast<void>(read(entry, w, g, meta)); // nobody else changes it
    const std::uint32_t all = pages_in(g.place);
    if (pages != all) {
        keep_claims(entry, w, g, all & ~pages, granule);
        return;
    }
    entry.store(w & ~claimed_bit, std::memory_order_release);
    if (kind_of(w) == kind::record) {
        tidy(entry, w & ~claimed_bit);
    }
}

void region_map::unclaim(range where) noexcept {
    scan(where, [&](word& entry, std::uint64_t w, unsigned level, range span) {
        if (level == granule_level) {
            unclaim_granule(entry, w, page_mask(clip(span, where), span.begin), span.begin);
        } else if ((w & claimed_bit) != 0) {
            entry.store(w & ~claimed_bit, std::memory_order_release);
        }
        return step::next;
    });
}

void region_map::publish_granule(word& entry, std::uint64_t w, std::uint32_t pages, address granule,
                                 page_code code, bool keep_inherited) noexcept {
    if (kind_of(w) == kind::uniform && (w & claimed_bit) != 0 && pages == pages_in(place_of(w)))
        [[likely]] {
        entry.store(uniform_word(place_of(w), code, keep_inherited && (w & inherited_bit) != 0),
                    std::memory_order_release);
        return;
    }
    const std::uint64_t wide = spread(pages);
    if ((w & claimed_bit) != 0) {
        granule_pages g;
        std::uint64_t meta = 0;
        static_cast<void>(read(entry, w, g, meta));
        g.codes = (g.codes & ~wide) | (pattern(code) & wide);
        g.inherited &= keep_inherited ? 0xffff : ~pages;
        const std::uint32_t all = pages_in(g.place);
        if (pages != all) {
            keep_claims(entry, w, g, all & ~pages, granule);
            return;
        }
        entry.store(pack(g), std::memory_order_release); // one code: at most two kinds
        if (kind_of(w) == kind::record) {
            records_.give(record_of(w));
        }
        return;
    }
    check(kind_of(w) == kind::record, "only claimed pages change their state");
    page_record& r = records_.at(record_of(w));
    check((claims_of(r.meta.load(std::memory_order_relaxed)) & pages) == pages,
          "only claimed pages change their state");
    std::uint64_t codes = r.codes.load(std::memory_order_relaxed);
    while (!r.codes.compare_exchange_weak(codes, (codes & ~wide) | (pattern(code) & wide),
                                          std::memory_order_acq_rel)) {
    }
    const std::uint64_t inherited = std::uint64_t{pages} << 32;
    if (!keep_inherited && (r.home.load(std::memory_order_relaxed) & inherited) != 0) {
        r.home.fetch_and(~inherited, std::memory_order_acq_rel);
    }
    end_claims(entry, w, pages);
}

void region_map::publish(range where, page_code code, bool keep_inherited) noexcept {
    if (const cursor c = descend(where.begin); c.level == granule_level &&
                                               plain_of(place_of(c.seen)) != 0 &&
                                               is_all_of(c.seen, c.begin, where)) {
        publish_granule(*c.entry, c.seen, pages_in(place_of(c.seen)), c.begin, code,
                        keep_inherited);
        return;
    }
    bool marked = false;
    scan(where, [&](word& entry, std::uint64_t w, unsigned level, range span) {
        const range part = clip(span, where);
        // A reservation inside one granule has no run that goes on elsewhere.
        if (!marked &&
            plain_of(
                level == granule_level && kind_of(w) == kind::record
                    ? place_of_home(records_.at(record_of(w)).home.load(std::memory_order_relaxed))
                    : place_of(w)) == 0) {
            mark_path(where);
            marked = true;
        }
        if (level == granule_level) {
            publish_granule(entry, w, page_mask(part, span.begin), span.begin, code,
                            keep_inherited);
            return step::next;
        }
        check((w & claimed_bit) != 0 && part == span, "only claimed pages change their state");
        entry.store(uniform_word(place_of(w), code, keep_inherited && (w & inherited_bit) != 0),
                    std::memory_order_release);
        return step::next;
    });
}

} // namespace memreeve::vm
