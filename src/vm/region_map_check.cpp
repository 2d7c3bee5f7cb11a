// SPDX-License-Identifier: MIT
// What must hold of every word of the map, of the records beside it and of the counts.
#include "vm/region_map.hpp"

namespace memreeve::vm {

using namespace map_detail;

struct region_map::checking {
    const region_map& map;
    at_rest what;
    const char* wrong = nullptr;
    std::uint32_t records_in_use = 0;

    void hold(bool holds, const char* sentence) noexcept {
        if (!holds && wrong == nullptr) {
            wrong = sentence;
        }
    }
    bool claims_allowed() const noexcept { return what == at_rest::claims_allowed; }

    // The reservation that the place names, or null.
    const reservation* owner(std::uint32_t place) noexcept {
        const std::uint32_t index = owner_of(place);
        const bool exists = index != 0 && index < map.reservations_->used() &&
                            map.at(index).stage() == reservation_stage::live;
        hold(exists, "an entry names a live reservation");
        return exists ? &map.at(index) : nullptr;
    }

    void operator()(const word& entry, std::uint64_t w, unsigned level, range span) noexcept {
        hold((w & claimed_bit) == 0 || claims_allowed(), "at rest no page is claimed");
        if (level < granule_level) {
            upper(w, span);
        } else if (kind_of(w) == kind::record) {
            record(entry, w, span);
        } else {
            hold(kind_of(w) != kind::empty, "an empty word is 0");
            granule(unpack(w), span);
            hold(pack(unpack(w)) == (w & ~claimed_bit), "a granule has the one word for its pages");
        }
    }

    void upper(std::uint64_t w, range span) noexcept {
        hold(kind_of(w) == kind::uniform, "an upper entry is empty, uniform or a node");
        hold(uniform_word(place_of(w), code_of(w), (w & inherited_bit) != 0) == (w & ~claimed_bit),
             "a uniform entry has nothing beside its state");
        const reservation* const r = owner(place_of(w));
        hold(r != nullptr && r->where().contains(span),
             "a uniform entry lies wholly inside its reservation");
        hold(place_of(w) == place_word(owner_of(place_of(w)), 15, 0),
             "a larger entry belongs to a larger reservation");
        hold(code_of(w) != page_code::outside, "a uniform entry has a page state");
    }

    void record(const word& entry, std::uint64_t w, range span) noexcept {
        const page_records::id id = record_of(w);
        const bool exists =
            (id >> 4) != 0 && (id >> 4) < map.nodes_->used() && (id & 15) < page_records::per_take;
        hold(exists, "a word names a record that exists");
        if (!exists) {
            return;
        }
        ++records_in_use;
        const page_record& r = map.records_.at(id);
        granule_pages g;
        std::uint64_t meta = 0;
        hold(map.read(entry, w, g, meta), "nobody changes the map meanwhile");
        hold(generation_of(meta) == generation_of(w), "a record is of its word's generation");
        hold(r.home.load(std::memory_order_acquire) == home_word(g, span.begin) && g.place != 0,
             "a record in use is of one granule");
        const std::uint32_t claims = claims_of(meta);
        hold((claims & ~pages_in(g.place)) == 0, "claimed pages are pages of the reservation");
        hold(claims == 0 || (w & claimed_bit) == 0, "a granule is claimed in one way");
        hold(claims == 0 || claims_allowed(), "at rest no page is claimed");
        hold(claims != 0 || claims_allowed() || pack(g) == 0,
             "at rest a granule has a record for more than two kinds of pages only");
        granule(g, span);
    }

    void granule(const granule_pages& g, range span) noexcept {
        const reservation* const r = owner(g.place);
        if (r == nullptr) {
            return;
        }
        const range where = r->where();
        hold(where.contains(span.begin), "a granule's first page is of its reservation");
        hold(g.place == map.place_in(owner_of(g.place), where, span.begin),
             "a granule's place is that of its reservation");
        hold(gather(g.codes) == pages_in(g.place),
             "exactly the pages of the reservation have a state");
    }

    // A clear bit of a summary: all below the entry is as the base says.
    void summaries(word* words, unsigned level, address begin) noexcept {
        const std::uint64_t base = is_summed(level) ? base_of(words, level).load() : 0;
        const std::uint32_t index = owner_of(place_of(base));
        const bool believed = base != 0 && index < map.reservations_->used() &&
                              map.at(index).stage() == reservation_stage::live;
        const range where = believed ? map.at(index).where() : range{};
        for (std::uint32_t i = 0; i < entries_at(level); ++i) {
            const std::uint64_t w = words[i].load(std::memory_order_acquire);
            const address at = begin + i * span_at(level);
            const range span{at, at + span_at(level)};
            const bool marked = is_summed(level) &&
                                (words[entries_at(level) + 1 + i / 64].load() >> i % 64 & 1) != 0;
            const bool is_node = kind_of(w) == kind::node;
            if (believed && !marked && where.contains(span)) {
                bool alike = is_node || owner_of(place_of(w)) == index;
                map.for_each_run(span, [&](range, page_code code, bool) {
                    alike = alike && fold(code) == fold(code_of(base));
                });
                hold(alike, "what a summary calls alike is alike");
            }
            if (is_node && level + 1 < granule_level) {
                summaries(map.node_words(w), level + 1, at);
            }
        }
    }

    void records() noexcept {
        std::uint32_t free = 0;
        map.records_.for_each_free([&](page_records::id id) {
            hold(map.records_.at(id).home.load(std::memory_order_acquire) == 0 &&
                     claims_of(map.records_.at(id).meta.load(std::memory_order_acquire)) == 0,
                 "a free record is of no granule");
            return ++free <= map.records_.made(); // else it runs in a circle
        });
        hold(free + records_in_use + map.lost_records_ == map.records_.made(),
             "every record is free or in use, once");
    }

    void reservations() noexcept {
        for (std::uint32_t i = 1; i < map.reservations_->used(); ++i) {
            const reservation& r = map.at(i);
            if (r.stage() != reservation_stage::live) {
                continue;
            }
            page_count living = 0;
            bool complete = true;
            map.for_each_run(r.where(), [&](range run, page_code code, bool) {
                complete = complete && code != page_code::outside;
                living += code == page_code::dead ? 0 : run.pages();
            });
            hold(complete, "every page of a live reservation has a state");
            hold(claims_allowed() || living == r.living.load(std::memory_order_relaxed),
                 "`living` counts the pages that are not dead");
        }
    }
};

const char* region_map::check_invariants(at_rest what) const noexcept {
    checking all{*this, what};
    walk(root_, 0, 0, all);
    if (all.wrong == nullptr) {
        all.summaries(root_, 0, 0);
        all.records();
        all.reservations();
    }
    return all.wrong;
}

} // namespace memreeve::vm
