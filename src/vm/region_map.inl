// SPDX-License-Identifier: MIT
// The reader that VirtualQuery waits for, and the templates.
#pragma once

namespace memreeve::vm {

// The deepest entry that covers `a`. Written out: every reader and writer goes this way.
inline region_map::cursor region_map::descend(address a) const noexcept {
    using namespace map_detail;
    word* const top = root_ + slot_of(a, 0);
    std::uint64_t w = top->load(std::memory_order_acquire);
    if (kind_of(w) != kind::node) [[unlikely]] {
        return {top, 0, round_down(a, span_at(0)), w};
    }
    word* const upper = node_words(w) + slot_of(a, 1);
    w = upper->load(std::memory_order_acquire);
    if (kind_of(w) != kind::node) [[unlikely]] {
        return {upper, 1, round_down(a, span_at(1)), w};
    }
    word* const lower = node_words(w) + slot_of(a, 2);
    w = lower->load(std::memory_order_acquire);
    if (kind_of(w) != kind::node) [[unlikely]] {
        return {lower, 2, round_down(a, span_at(2)), w};
    }
    word* const granule = node_words(w) + slot_of(a, granule_level);
    return {granule, granule_level, round_down(a, granule_size),
            granule->load(std::memory_order_acquire)};
}

inline bool region_map::query(address a, run_view& out) const noexcept {
    using namespace map_detail;
    out.at = round_down(a, page_size);
    const cursor c = descend(a);
    const std::uint32_t place = place_of(c.seen);
    if (c.level != granule_level || kind_of(c.seen) != kind::uniform || plain_of(place) == 0)
        [[unlikely]] {
        return c.seen != 0 && query_further(out);
    }
    const address end = c.begin + bytes_of(last_of(place) + 1);
    if (a >= end) {
        return false;
    }
    out.run_end = end;
    out.base = c.begin;
    out.protect = protection_of(plain_of(place));
    out.flags = 0;
    out.code = code_of(c.seen);
    out.has_flags = false;
    out.claimed = (c.seen & claimed_bit) != 0;
    return true;
}

template <class F>
void region_map::scan(range where, F&& f) const noexcept {
    using namespace map_detail;
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        const byte_count size = span_at(c.level);
        word* entry = c.entry;
        std::uint64_t w = c.seen;
        range span{c.begin, c.begin + size};
        // On through the same node; only another node needs another descent.
        for (const word* const end = entry + entries_at(c.level) - slot_of(a, c.level);;) {
            if (c.level < granule_level && kind_of(w) == kind::node) {
                break;
            }
            const step what = f(*entry, w, c.level, span);
            if (what == step::stop) {
                return;
            }
            if (what == step::next) {
                a = span.end;
                span = {a, a + size};
                if (++entry == end || a >= where.end) {
                    break;
                }
            }
            w = entry->load(std::memory_order_acquire);
        }
    }
}

// Runs of like pages among `first` to `last`: f(first page, page behind, code, inherited).
template <class F>
void region_map::each_run(const map_detail::granule_pages& g, unsigned first, unsigned last,
                          F&& f) noexcept {
    using namespace map_detail;
    for (unsigned page = first; page <= last;) {
        const page_code code = code_at(g.codes, page);
        const bool inherited = (g.inherited >> page & 1) != 0;
        const std::uint32_t other = (g.inherited ^ (inherited ? 0xffffU : 0)) >> page;
        unsigned length = run_length(g.codes, page, code);
        const auto alike = other == 0 ? length : static_cast<unsigned>(__builtin_ctz(other));
        length = alike < length ? alike : length;
        const unsigned end = page + length <= last ? page + length : last + 1;
        f(page, end, code, inherited);
        page = end;
    }
}

template <class F>
void region_map::for_each_run(range where, F&& f) const noexcept {
    using namespace map_detail;
    range run{where.begin, where.begin};
    page_code run_code = page_code::outside;
    bool run_inherited = false;
    const auto add = [&](address end, page_code code, bool inherited) {
        if (!run.is_empty() && (code != run_code || inherited != run_inherited)) {
            f(run, run_code, run_inherited);
            run.begin = run.end;
        }
        run.end = end;
        run_code = code;
        run_inherited = inherited;
    };
    scan(where, [&](word& entry, std::uint64_t w, unsigned level, range span) {
        const range part = clip(span, where);
        const bool to_last =
            level < granule_level || part.end <= span.begin + bytes_of(last_of(place_of(w)) + 1);
        if (kind_of(w) == kind::empty || (kind_of(w) == kind::uniform && to_last)) {
            add(part.end, code_of(w), (w & inherited_bit) != 0);
            return step::next;
        }
        granule_pages g;
        std::uint64_t meta = 0;
        if (!read(entry, w, g, meta)) {
            return step::again;
        }
        each_run(g, static_cast<unsigned>(pages_of(part.begin - span.begin)),
                 static_cast<unsigned>(pages_of(part.end - span.begin)) - 1,
                 [&](unsigned, unsigned end, page_code code, bool inherited) {
                     add(span.begin + bytes_of(end), code, inherited);
                 });
        return step::next;
    });
    if (!run.is_empty()) {
        f(run, run_code, run_inherited);
    }
}

template <class F>
void region_map::walk(word* words, unsigned level, address begin, F& f) const noexcept {
    using namespace map_detail;
    for (std::uint32_t i = 0; i < entries_at(level); ++i) {
        const std::uint64_t w = words[i].load(std::memory_order_acquire);
        if (w == 0) {
            continue;
        }
        const address at = begin + i * span_at(level);
        if (level < granule_level && kind_of(w) == kind::node) {
            walk(node_words(w), level + 1, at, f);
        } else {
            f(words[i], w, level, range{at, at + span_at(level)});
        }
    }
}

template <class F>
void region_map::settle_after_fork(F&& f) noexcept {
    using namespace map_detail;
    const auto visit = [&](word& entry, std::uint64_t w, unsigned level, range span) {
        if (level < granule_level) {
            f(span, owner_of(place_of(w)), code_of(w), (w & claimed_bit) != 0);
            if (!holds(owner_of(place_of(w)))) {
                entry.store(0, std::memory_order_relaxed); // half installed or half removed
                return;
            }
            entry.store(uniform_word(place_of(w), code_of(w), is_charged(code_of(w))),
                        std::memory_order_relaxed);
            return;
        }
        granule_pages g;
        std::uint64_t meta = 0;
        static_cast<void>(read(entry, w, g, meta));
        const std::uint32_t claims =
            (w & claimed_bit) != 0
                ? pages_in(g.place)
                : (kind_of(w) == kind::record ? claims_of(meta) & pages_in(g.place) : 0);
        // Claimed or not is told apart like two states of inheritance.
        std::uint32_t inherited = 0;
        each_run({g.codes, claims, g.place}, 0, last_of(g.place),
                 [&](unsigned first, unsigned end, page_code code, bool claimed) {
                     f(range{span.begin + bytes_of(first), span.begin + bytes_of(end)},
                       owner_of(g.place), code, claimed);
                     const std::uint32_t pages = ((1U << end) - 1) & ~((1U << first) - 1);
                     inherited |= is_charged(code) ? pages : 0;
                 });
        g.inherited = inherited;
        const bool is_held = holds(owner_of(g.place));
        const std::uint64_t packed = pack(g);
        if (!is_held || packed != 0) {
            entry.store(is_held ? packed : 0, std::memory_order_relaxed);
            if (kind_of(w) == kind::record) {
                records_.give(record_of(w));
            }
        } else {
            // Only a record's pages can be of more than two kinds: codes alone tell them apart here.
            write(records_.at(record_of(w)), g, 0, generation_of(w), span.begin);
            entry.store(w & ~claimed_bit, std::memory_order_relaxed);
        }
    };
    walk(root_, 0, 0, visit);
    settle_records();
}

} // namespace memreeve::vm
