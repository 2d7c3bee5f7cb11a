// SPDX-License-Identifier: MIT
#include "vm/region_map.hpp"

namespace memreeve::vm {

using namespace map_detail;

namespace {

// The entries, and in levels 1 and 2 the summary: a base and a bit for each entry.
constexpr std::uint32_t words_at(unsigned level) noexcept {
    return entries_at(level) + (level < granule_level ? 1 + entries_at(level) / 64 : 0);
}
constexpr std::uint32_t units_at(unsigned level) noexcept {
    const byte_count bytes = words_at(level) * sizeof(std::uint64_t);
    return static_cast<std::uint32_t>((bytes + region_map::node_unit - 1) / region_map::node_unit);
}
static_assert(units_at(1) == 33 && units_at(2) == 17 && units_at(3) == 4);

bool is_inside_one_granule(range where) noexcept { return where.size() <= granule_size; }

std::uint32_t with_stage(std::uint32_t life, reservation_stage stage) noexcept {
    return (life & ~3U) | static_cast<std::uint32_t>(stage);
}

} // namespace

void region_map::open(word* root, record_array* nodes, record_array* reservations) noexcept {
    root_ = root;
    nodes_ = nodes;
    node_base_ = nodes->base();
    reservations_ = reservations;
    records_.open(nodes);
}

// ---- nodes ------------------------------------------------------------------------------------
// Free nodes form stacks; the tag in the head's upper half defeats ABA.

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
    for (std::uint32_t i = 1; i < words_at(child_level); ++i) {
        words[i].store(0, std::memory_order_relaxed);
    }
    std::atomic<std::uint64_t>& head = free_nodes_[child_level];
    std::uint64_t seen = head.load(std::memory_order_acquire);
    do {
        words[0].store(seen & 0xffffffff, std::memory_order_relaxed);
    } while (!head.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | index,
                                         std::memory_order_acq_rel));
}

// Replaces an empty or unclaimed uniform entry by a node whose entries say the same. False: it
// changed meanwhile (look again), or no_memory.
bool region_map::split(word& w, std::uint64_t seen, unsigned level, bool& no_memory) noexcept {
    const unsigned child = level + 1;
    const std::uint32_t index = take_node(child);
    no_memory = index == 0;
    if (no_memory) {
        return false;
    }
    if (seen != 0) {
        auto* words = static_cast<word*>(nodes_->at(index));
        for (std::uint32_t i = 0; i < entries_at(child); ++i) {
            words[i].store(seen, std::memory_order_relaxed);
        }
        if (is_summed(child)) {
            base_of(words, child).store(seen, std::memory_order_relaxed);
        }
    }
    if (!w.compare_exchange_strong(seen, node_word(index), std::memory_order_acq_rel)) {
        give_node(index, child);
        return false;
    }
    return true;
}

// ---- summaries --------------------------------------------------------------------------------

// The bits of the entries `first` to `last`.
void region_map::mark(word* words, unsigned level, std::uint32_t first,
                      std::uint32_t last) noexcept {
    word* const bits = words + entries_at(level) + 1;
    for (std::uint32_t i = first / 64; i <= last / 64; ++i) {
        const std::uint32_t from = i == first / 64 ? first % 64 : 0;
        const std::uint32_t to = i == last / 64 ? last % 64 : 63;
        const std::uint64_t wanted = (~std::uint64_t{0} >> (63 - to)) & (~std::uint64_t{0} << from);
        if ((bits[i].load(std::memory_order_relaxed) & wanted) != wanted) {
            bits[i].fetch_or(wanted, std::memory_order_acq_rel);
        }
    }
}

// The bits of everything that `where` lies below.
void region_map::mark_path(range where) noexcept {
    const auto mark_one = [](word* words, unsigned level, std::uint32_t slot) {
        word& bits = words[entries_at(level) + 1 + slot / 64];
        const std::uint64_t bit = std::uint64_t{1} << slot % 64;
        if ((bits.load(std::memory_order_relaxed) & bit) == 0) {
            bits.fetch_or(bit, std::memory_order_acq_rel);
        }
    };
    for (address a = where.begin; a < where.end;) {
        const std::uint64_t top = root_[slot_of(a, 0)].load(std::memory_order_acquire);
        if (kind_of(top) != kind::node) {
            a = round_down(a, span_at(0)) + span_at(0);
            continue;
        }
        mark_one(node_words(top), 1, slot_of(a, 1));
        const std::uint64_t upper = node_words(top)[slot_of(a, 1)].load(std::memory_order_acquire);
        if (kind_of(upper) != kind::node) {
            a = round_down(a, span_at(1)) + span_at(1);
            continue;
        }
        mark_one(node_words(upper), 2, slot_of(a, 2));
        a = round_down(a, span_at(2)) + span_at(2);
    }
}

// ---- readers ----------------------------------------------------------------------------------

bool region_map::read(const word& entry, std::uint64_t w, granule_pages& out,
                      std::uint64_t& meta) const noexcept {
    if (kind_of(w) != kind::record) {
        out = w == 0 ? granule_pages{} : unpack(w);
        return true;
    }
    const page_record& r = records_.at(record_of(w));
    // Claims first: once there are none the codes are final.
    meta = r.meta.load(std::memory_order_acquire);
    out.codes = r.codes.load(std::memory_order_acquire);
    const std::uint64_t home = r.home.load(std::memory_order_acquire);
    out.place = place_of_home(home);
    out.inherited = inherited_of(home);
    return ((entry.load(std::memory_order_acquire) ^ w) & ~claimed_bit) == 0;
}

// Where the run of `code` ends that reaches from inside the reservation up to `a`, where an entry
// begins.
address region_map::run_beyond(address a, address limit, std::uint32_t index,
                               page_code code) const noexcept {
    const page_code folded = fold(code);
    const std::uint64_t whole_word = uniform_word(place_word(index, 15, 0), code, false);
    const auto is_same = [whole_word](std::uint64_t w) {
        return ((w ^ whole_word) & ~(claimed_bit | inherited_bit)) == 0;
    };
    const auto is_like = [&](std::uint64_t w) {
        return is_same(w) || (kind_of(w) == kind::uniform && owner_of(place_of(w)) == index &&
                              fold(code_of(w)) == folded);
    };
    const word* path[4] = {root_};
    unsigned level = 0;
    while (a < limit) {
        const word* const words = path[level];
        std::uint32_t slot = slot_of(a, level);
        if (level == granule_level) {
            const word* const end = words + entries_at(granule_level);
            const word* entry = words + slot;
            std::uint64_t w = entry->load(std::memory_order_acquire);
            while (is_same(w)) {
                a += granule_size;
                if (++entry == end || a >= limit) {
                    break;
                }
                w = entry->load(std::memory_order_acquire);
            }
            if (entry != end && a < limit) {
                granule_pages g;
                std::uint64_t meta = 0;
                if (!read(*entry, w, g, meta)) {
                    continue;
                }
                if (owner_of(g.place) != index) {
                    break;
                }
                const unsigned length = run_length(fold(g.codes), 0, folded);
                a += bytes_of(length);
                if (length != pages_per_granule) {
                    break;
                }
            }
        } else {
            const std::uint32_t entries = entries_at(level);
            if (is_summed(level) && is_like(words[entries].load(std::memory_order_acquire))) {
                const std::uint32_t from = slot;
                for (std::uint64_t mask = ~std::uint64_t{0} << (slot % 64); slot < entries;
                     mask = ~std::uint64_t{0}) {
                    const std::uint64_t bits =
                        words[entries + 1 + slot / 64].load(std::memory_order_acquire) & mask;
                    if (bits != 0) {
                        slot = (slot & ~63U) + static_cast<std::uint32_t>(__builtin_ctzll(bits));
                        break;
                    }
                    slot = (slot & ~63U) + 64;
                }
                if (slot != from) {
                    // `a` may lie in the middle of what is alike.
                    a = round_down(a, span_at(level)) + (slot - from) * span_at(level);
                }
            }
            if (slot < entries && a < limit) {
                const std::uint64_t w = words[slot].load(std::memory_order_acquire);
                if (kind_of(w) == kind::node) {
                    path[++level] = node_words(w);
                    continue;
                }
                if (!is_like(w)) {
                    break;
                }
                a += span_at(level);
            }
        }
        // Behind the last entry of a node its parent goes on.
        while (level != 0 && slot_of(a, level) == 0) {
            --level;
        }
    }
    return a < limit ? a : limit;
}

// False: somebody changed just this; look again. `from`: whether a word that says everything will do,
// then whether it did; then owner, tag, flags, index and life are not set.
bool region_map::look(address a, source& from, found& out, bool& claimed) const noexcept {
    const cursor c = descend(a);
    const std::uint64_t w = c.seen;
    const bool word_will_do = from == source::word;
    const bool record_will_do = from == source::record_only;
    from = source::record;
    out = {};
    out.at = a;
    if (w == 0) {
        return true;
    }
    granule_pages g;
    std::uint64_t meta = 0;
    page_code code = code_of(w);
    const auto page = static_cast<unsigned>(pages_of(a - c.begin));
    address end = c.begin + span_at(c.level);
    if (c.level < granule_level) {
        if (kind_of(w) == kind::node) {
            return false;
        }
        g.place = place_of(w);
    } else if (kind_of(w) == kind::uniform) {
        g.place = place_of(w);
        end = c.begin + bytes_of(last_of(g.place) + 1);
        code = page <= last_of(g.place) ? code : page_code::outside;
    } else {
        if (!read(*c.entry, w, g, meta)) {
            return false;
        }
        code = code_at(g.codes, page);
        end = a + bytes_of(run_length(fold(g.codes), page, fold(code)));
    }
    if (code == page_code::outside) {
        return true;
    }
    out.code = code;
    out.run_end = end;
    claimed = (w & claimed_bit) != 0 || (kind_of(w) == kind::record && claims_of(meta) != 0);
    if (word_will_do && plain_of(g.place) != 0) {
        out.whole = {c.begin, c.begin + bytes_of(last_of(g.place) + 1)};
        out.protect = protection_of(plain_of(g.place));
        from = source::word;
        return true;
    }
    const std::uint32_t index = owner_of(g.place);
    const reservation& r = at(index);
    const std::uint32_t life = r.life.load(std::memory_order_acquire);
    if (static_cast<reservation_stage>(life & 3) != reservation_stage::live) {
        out.code = page_code::outside;
        out.run_end = 0;
        return true; // free to everybody but its maker
    }
    // Acquire, so that the second look at `life` comes after them.
    const address base = address{r.base_granule.load(std::memory_order_acquire)} << granule_shift;
    out.whole = {base, base + bytes_of(r.pages.load(std::memory_order_acquire))};
    out.protect = r.protect.load(std::memory_order_acquire);
    out.owner = static_cast<owner_id>(r.owner.load(std::memory_order_acquire));
    out.tag = r.tag.load(std::memory_order_acquire);
    out.flags = r.flags.load(std::memory_order_acquire);
    const std::uint64_t now = c.entry->load(std::memory_order_acquire);
    if (((now ^ w) & ~claimed_bit) != 0 || !out.whole.contains(a)) {
        return false;
    }
    if (!record_will_do && end < out.whole.end && end == c.begin + span_at(c.level)) {
        out.run_end = run_beyond(end, out.whole.end, index, code);
    }
    if (r.life.load(std::memory_order_acquire) != life) {
        return false;
    }
    out.index = index;
    out.life = life;
    return true;
}

found region_map::find(address a) const noexcept {
    a = round_down(a, page_size);
    found out;
    bool claimed = false;
    // Each failed round means that somebody else made progress just there.
    for (source from = source::record; !look(a, from, out, claimed); from = source::record) {
    }
    return out;
}

found region_map::find_owner(address a) const noexcept {
    found out;
    bool claimed = false;
    for (source from = source::record_only; !look(round_down(a, page_size), from, out, claimed);
         from = source::record_only) {
    }
    return out;
}

bool region_map::query_further(run_view& out) const noexcept {
    found f;
    source from = source::word;
    for (; !look(out.at, from, f, out.claimed); from = source::word) {
    }
    out.run_end = f.run_end;
    out.base = f.whole.begin;
    out.protect = f.protect;
    out.flags = f.flags;
    out.code = f.code;
    out.has_flags = from == source::record;
    return f.code != page_code::outside;
}

address region_map::next_base(address a, address limit) const noexcept {
    address lowest = limit;
    scan({round_down(a, granule_size), limit}, [&](word& entry, std::uint64_t w, unsigned level,
                                                   range span) {
        if (w == 0) {
            return step::next;
        }
        granule_pages g;
        std::uint64_t meta = 0;
        if (level < granule_level) {
            g.place = place_of(w);
        } else if (!read(entry, w, g, meta)) {
            return step::again;
        }
        address base = span.begin;
        if (plain_of(g.place) == 0) {
            const reservation& r = at(owner_of(g.place));
            const std::uint32_t life = r.life.load(std::memory_order_acquire);
            base = address{r.base_granule.load(std::memory_order_acquire)} << granule_shift;
            const std::uint64_t now = entry.load(std::memory_order_acquire);
            // The record may serve another reservation by now, which lies anywhere.
            if (((now ^ w) & ~claimed_bit) != 0 || r.life.load(std::memory_order_acquire) != life) {
                return step::again;
            }
            if (static_cast<reservation_stage>(life & 3) != reservation_stage::live) {
                return step::next;
            }
        }
        if (base < a || base >= limit) {
            return step::next;
        }
        lowest = base;
        return step::stop;
    });
    return lowest;
}

// ---- making and removing ------------------------------------------------------------------------

void region_map::give_reservation(std::uint32_t index) noexcept {
    free_reservations_.push(index, [this](std::uint32_t top, std::uint32_t under) {
        at(top).link.store(under, std::memory_order_relaxed);
    });
}

// New ones come four at a time, three cache lines: two threads that use one of theirs again and again
// write to lines of their own when it is one from the middle.
std::uint32_t region_map::take_reservation() noexcept {
    constexpr std::uint32_t batch = 4;
    static_assert(batch * sizeof(reservation) % 64 == 0);
    const std::uint32_t index = free_reservations_.pop(
        [this](std::uint32_t top) { return at(top).link.load(std::memory_order_relaxed); });
    if (index != 0) {
        return index;
    }
    const std::uint32_t first = reservations_->take(batch);
    if (first == 0) {
        const std::uint32_t one = reservations_->take(1);
        return one <= largest_reservation ? one : 0;
    }
    if (first + batch - 1 > largest_reservation) {
        return 0;
    }
    give_reservation(first);
    give_reservation(first + 3);
    give_reservation(first + 2);
    return first + 1;
}

std::uint32_t region_map::make(range where, owner_id owner, std::uint32_t protect,
                               std::uint32_t flags, std::uint64_t tag) noexcept {
    const std::uint32_t index = take_reservation();
    if (index == 0) {
        return 0;
    }
    reservation& r = at(index);
    const std::uint32_t life = r.life.load(std::memory_order_relaxed);
    r.life.store(with_stage(((life >> 2) + 1) << 2, reservation_stage::building),
                 std::memory_order_release);
    // Release: who reads one of these sees that the life before is over.
    r.owner.store(static_cast<std::uint32_t>(owner), std::memory_order_release);
    r.protect.store(protect, std::memory_order_release);
    r.tag.store(tag, std::memory_order_release);
    r.link.store(0, std::memory_order_relaxed);
    r.flags.store(flags, std::memory_order_release);
    place(index, where);
    return index;
}

void region_map::place(std::uint32_t index, range where) noexcept {
    reservation& r = at(index);
    r.base_granule.store(static_cast<std::uint32_t>(where.begin >> granule_shift),
                         std::memory_order_release);
    r.pages.store(where.pages(), std::memory_order_release);
    r.living.store(where.pages(), std::memory_order_relaxed);
}

void region_map::forget(std::uint32_t index) noexcept {
    reservation& r = at(index);
    r.life.store(with_stage(r.life.load(std::memory_order_relaxed), reservation_stage::free),
                 std::memory_order_release);
    give_reservation(index);
}

// Only the two ends of a range need nodes: what lies between is covered by whole entries.
bool region_map::prepare(range where) noexcept {
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        const range span{c.begin, c.begin + span_at(c.level)};
        if (c.level < granule_level && !where.contains(span)) {
            bool no_memory = false;
            if (!split(*c.entry, c.seen, c.level, no_memory) && no_memory) {
                return false;
            }
            continue;
        }
        // The next place where an entry may reach out of the range is its other end.
        const address last = round_down(where.end - 1, granule_size);
        a = span.end > last ? span.end : last;
    }
    return true;
}

std::uint32_t region_map::place_in(std::uint32_t index, range whole,
                                   address granule) const noexcept {
    const page_count behind = pages_of(whole.end - granule);
    const unsigned last =
        behind < pages_per_granule ? static_cast<unsigned>(behind) - 1 : pages_per_granule - 1;
    const reservation& r = at(index);
    // An area of placeholders is not what VirtualQuery tells of: its pieces are.
    const bool has_pieces = (r.flags.load(std::memory_order_relaxed) & placeholder) != 0;
    return place_word(index, last,
                      is_inside_one_granule(whole) && !has_pieces
                          ? plain_protection(r.protect.load(std::memory_order_relaxed))
                          : 0);
}

// Gives every page of `where` below the node at `begin` the one state.
void region_map::fill(word* words, unsigned level, address begin, range where, std::uint32_t index,
                      page_code code) noexcept {
    const byte_count size = span_at(level);
    const std::uint64_t whole_word = uniform_word(place_word(index, 15, 0), code, false);
    const std::uint32_t first =
        where.begin > begin ? static_cast<std::uint32_t>((where.begin - begin) / size) : 0;
    std::uint32_t last = entries_at(level) - 1;
    if (where.end < begin + entries_at(level) * size) {
        last = static_cast<std::uint32_t>((where.end - 1 - begin) / size);
    }
    if (is_summed(level)) {
        if (where.contains(range{begin, begin + entries_at(level) * size})) {
            base_of(words, level).store(whole_word, std::memory_order_release);
            for (std::uint32_t i = 0; i < entries_at(level) / 64; ++i) {
                words[entries_at(level) + 1 + i].store(0, std::memory_order_release);
            }
        } else {
            mark(words, level, first, last);
        }
    }
    for (std::uint32_t i = first; i <= last; ++i) {
        const address at = begin + i * size;
        if (level == granule_level) {
            words[i].store(where.end >= at + size
                               ? whole_word
                               : uniform_word(place_in(index, where, at), code, false),
                           std::memory_order_release);
            continue;
        }
        std::uint64_t w = words[i].load(std::memory_order_acquire);
        while (kind_of(w) != kind::node &&
               !words[i].compare_exchange_weak(w, whole_word, std::memory_order_acq_rel)) {
        }
        if (kind_of(w) == kind::node) {
            fill(node_words(w), level + 1, at, where, index, code);
        }
    }
}

void region_map::install(std::uint32_t index, page_code code) noexcept {
    reservation& r = at(index);
    const range where = r.where();
    const auto go_live = [&r] {
        r.life.store(with_stage(r.life.load(std::memory_order_relaxed), reservation_stage::live),
                     std::memory_order_release);
    };
    if (is_inside_one_granule(where)) {
        go_live();
        descend(where.begin)
            .entry->store(uniform_word(place_in(index, where, where.begin), code, false),
                          std::memory_order_release);
        return;
    }
    fill(root_, 0, 0, where, index, code);
    go_live();
}

void region_map::remove(std::uint32_t index) noexcept {
    reservation& r = at(index);
    const range where = r.where();
    const std::uint32_t life = r.life.load(std::memory_order_relaxed);
    if (static_cast<reservation_stage>(life & 3) == reservation_stage::building) {
        return; // never installed
    }
    const auto end_life = [&r, life] {
        r.life.store(with_stage(life, reservation_stage::going), std::memory_order_release);
    };
    const bool small = is_inside_one_granule(where);
    if (!small) {
        end_life();
    }
    scan(where, [&](word& entry, std::uint64_t w, unsigned level, range) {
        const bool has_record = level == granule_level && kind_of(w) == kind::record;
        entry.store(0, std::memory_order_release);
        if (has_record) {
            records_.give(record_of(w));
        }
        return step::next;
    });
    if (small) {
        end_life();
    }
}

std::uint32_t region_map::live_count() const noexcept {
    std::uint32_t live = 0;
    for (std::uint32_t i = 1; i < reservations_->used(); ++i) {
        live += at(i).stage() == reservation_stage::live ? 1U : 0U;
    }
    return live;
}

// ---- after fork -----------------------------------------------------------------------------------

bool region_map::holds(std::uint32_t index) const noexcept {
    const reservation& r = at(index);
    if (r.stage() != reservation_stage::live) {
        return false;
    }
    if (!is_inside_one_granule(r.where())) {
        return true;
    }
    const cursor c = descend(r.base());
    const std::uint64_t w = c.seen;
    granule_pages g;
    std::uint64_t meta = 0;
    return c.level == granule_level && w != 0 && read(*c.entry, w, g, meta) &&
           owner_of(g.place) == index;
}

// What threads that are not here had in hand.
void region_map::settle_records() noexcept {
    std::uint32_t used = 0;
    const auto count = [&](word&, std::uint64_t w, unsigned level, range) {
        used += level == granule_level && kind_of(w) == kind::record ? 1U : 0U;
    };
    walk(root_, 0, 0, count);
    records_.for_each_free([&](page_records::id) {
        ++used;
        return true;
    });
    lost_records_ = records_.made() - used;
    for (std::uint32_t i = 1; i < reservations_->used(); ++i) {
        reservation& r = at(i);
        if (!holds(i) && r.stage() == reservation_stage::live) {
            r.life.store(
                with_stage(r.life.load(std::memory_order_relaxed), reservation_stage::going),
                std::memory_order_release);
        }
    }
}

} // namespace memreeve::vm
