// SPDX-License-Identifier: MIT
#include "manager/page_runs.hpp"

namespace memreeve::manager {

namespace {

// Without the instruction the compiler calls a function.
constexpr std::uint32_t ones(std::uint64_t bits) noexcept {
    bits -= bits >> 1 & 0x5555555555555555;
    bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333);
    bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return static_cast<std::uint32_t>(bits * 0x0101010101010101 >> 56);
}

} // namespace

bool page_runs::set_place(address at, std::uint32_t chunks) noexcept {
    capacity_ = chunks;
    address none = 0;
    return place_.compare_exchange_strong(none, at, std::memory_order_acq_rel);
}

range page_runs::close() noexcept {
    const range all = place();
    heads_.store(0, std::memory_order_relaxed);
    place_.store(0, std::memory_order_relaxed);
    high_.store(0, std::memory_order_relaxed);
    warm_.store(0, std::memory_order_relaxed);
    return all;
}

// ---- chunks -----------------------------------------------------------------------------------------

std::uint32_t page_runs::begin_making(bool& is_new) noexcept {
    const auto claim = [&](std::uint32_t i, std::uint32_t from) {
        is_new = from == never_used;
        return head_of(i).life.compare_exchange_strong(from, being_made, std::memory_order_acq_rel);
    };
    for (std::uint32_t i = 0; i < high(); ++i) {
        if (claim(i, vacant) || claim(i, never_used)) {
            return i;
        }
    }
    for (std::uint32_t i = high(); i < capacity_; i = high()) {
        if (high_.compare_exchange_strong(i, i + 1, std::memory_order_acq_rel) &&
            claim(i, never_used)) {
            return i;
        }
    }
    return chunk_limit;
}

void page_runs::finish_making(std::uint32_t chunk, address base, owner_id owner,
                              std::uint32_t pages, held& out) noexcept {
    head& h = head_of(chunk);
    const page_run own{chunk, 0, pages};
    record& c = of(chunk);
    h.base.store(base, std::memory_order_relaxed);
    h.owner.store(static_cast<std::uint32_t>(owner), std::memory_order_relaxed);
    forget_longest(chunk);
    h.reached.store((pages + 63) / 64, std::memory_order_relaxed);
    // Once each: who comes too late to an earlier life of the chunk may take bits from now on.
    for (std::uint32_t w = 0; w < record::words; ++w) {
        const std::uint32_t before = w * 64;
        const std::uint64_t mine = pages >= before + 64 ? ~std::uint64_t{0}
                                   : pages <= before    ? 0
                                                     : (std::uint64_t{1} << (pages - before)) - 1;
        out.cold[w] = mine;
        c.cold[w].store(~mine, std::memory_order_relaxed);
    }
    out.run = out.cold_hull = own;
    h.life.store(live, std::memory_order_release);
}

void page_runs::give_up_making(std::uint32_t chunk, bool usable) noexcept {
    if (usable) {
        forget(chunk);
    } else {
        head_of(chunk).life.store(never_used, std::memory_order_release);
    }
}

bool page_runs::take_all(std::uint32_t chunk, owner_id owner, held& out,
                         std::uint32_t& backed) noexcept {
    record& c = of(chunk);
    std::uint64_t warm[record::words];
    backed = 0;
    for (std::uint32_t w = record::words; w-- != 0;) {
        if ((c.warm[w].load(std::memory_order_relaxed) |
             c.cold[w].load(std::memory_order_relaxed)) != ~std::uint64_t{0}) {
            return false;
        }
    }
    for (std::uint32_t w = 0; w < record::words; ++w) {
        warm[w] = c.warm[w].exchange(0, std::memory_order_acq_rel);
        out.cold[w] = c.cold[w].exchange(0, std::memory_order_acq_rel);
        backed += ones(warm[w]);
        if ((warm[w] | out.cold[w]) != ~std::uint64_t{0} || !is_of(chunk, owner)) {
            for (std::uint32_t back = 0; back <= w; ++back) {
                c.warm[back].fetch_or(warm[back], std::memory_order_release);
                c.cold[back].fetch_or(out.cold[back], std::memory_order_release);
            }
            return false;
        }
    }
    out.run = out.cold_hull = {chunk, 0, chunk_pages};
    subtract_warm(backed);
    head_of(chunk).life.store(being_made, std::memory_order_release);
    return true;
}

void page_runs::go_on(const held& all) noexcept {
    head_of(all.run.chunk).life.store(live, std::memory_order_release);
    put_back(all);
}

void page_runs::forget(std::uint32_t chunk) noexcept {
    head_of(chunk).base.store(0, std::memory_order_relaxed);
    head_of(chunk).life.store(vacant, std::memory_order_release);
}

// ---- runs -------------------------------------------------------------------------------------------

void page_runs::add(std::atomic<std::uint64_t>* bits, const page_run& r) noexcept {
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        bits[w].fetch_or(mask, std::memory_order_acq_rel);
        return true;
    });
}

// Warm pages that were found become the caller's.
bool page_runs::hold_warm(const page_run& r, owner_id owner) noexcept {
    record& c = of(r.chunk);
    std::uint32_t done = 0; // pages
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        std::uint64_t seen = c.warm[w].load(std::memory_order_relaxed);
        do {
            if ((seen & mask) != mask) {
                return false;
            }
        } while (!c.warm[w].compare_exchange_weak(seen, seen & ~mask, std::memory_order_acq_rel,
                                                  std::memory_order_relaxed));
        done = (w + 1) * 64 - r.first;
        return true;
    });
    if (done < r.pages || !is_of(r.chunk, owner)) {
        add(c.warm, {r.chunk, r.first, done < r.pages ? done : r.pages});
        return false;
    }
    subtract_warm(r.pages);
    return true;
}

// Free pages, warm or cold.
bool page_runs::hold(const page_run& r, owner_id owner, held& out) noexcept {
    record& c = of(r.chunk);
    const std::uint32_t base = r.first / 64;
    std::uint32_t first = r.end();
    std::uint32_t end = r.first;
    std::uint32_t warm_pages = 0;
    bool all = true;
    out.run = {r.chunk, r.first, 0};
    std::uint64_t warm[record::words + 1];
    std::uint32_t last = base;
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        warm[w - base] = c.warm[w].fetch_and(~mask, std::memory_order_acq_rel) & mask;
        out.cold[w - base] = c.cold[w].fetch_and(~mask, std::memory_order_acq_rel) & mask;
        warm_pages += ones(warm[w - base]);
        last = w + 1;
        if (const std::uint64_t cold = out.cold[w - base]; cold != 0) {
            const std::uint32_t low = w * 64 + static_cast<std::uint32_t>(__builtin_ctzll(cold));
            first = low < first ? low : first;
            end = w * 64 + 64 - static_cast<std::uint32_t>(__builtin_clzll(cold));
        }
        all = (warm[w - base] | out.cold[w - base]) == mask;
        return all;
    });
    if (!all || !is_of(r.chunk, owner)) {
        for (std::uint32_t w = base; w < last; ++w) {
            c.warm[w].fetch_or(warm[w - base], std::memory_order_release);
            c.cold[w].fetch_or(out.cold[w - base], std::memory_order_release);
        }
        return false;
    }
    subtract_warm(warm_pages);
    out.run = r;
    out.cold_hull = {r.chunk, first, first < end ? end - first : 0};
    return true;
}

void page_runs::put_back(const held& h) noexcept {
    record& c = of(h.run.chunk);
    const std::uint32_t base = h.run.first / 64;
    each_word(h.run, [&](std::uint32_t w, std::uint64_t mask) {
        const std::uint64_t cold = h.cold_hull.pages != 0 ? h.cold[w - base] : 0;
        add_warm(ones(mask & ~cold));
        c.warm[w].fetch_or(mask & ~cold, std::memory_order_release);
        c.cold[w].fetch_or(cold, std::memory_order_release);
        return true;
    });
    forget_longest(h.run.chunk);
}

void page_runs::let_go_warm(const page_run& r) noexcept {
    add_warm(r.pages);
    add(of(r.chunk).warm, r);
    forget_longest(r.chunk);
}

void page_runs::let_go_cold(const page_run& r) noexcept {
    add(of(r.chunk).cold, r);
    forget_longest(r.chunk);
}

void page_runs::note_reached(const page_run& r) noexcept {
    std::atomic<std::uint32_t>& reached = head_of(r.chunk).reached;
    std::uint32_t seen = reached.load(std::memory_order_relaxed);
    const std::uint32_t words = (r.end() + 63) / 64;
    while (seen < words && !reached.compare_exchange_weak(seen, words, std::memory_order_relaxed)) {
    }
}

// The first run of ones that the pages of `out` fit in. One that grows long enough meanwhile is missed
// until the next is let go.
template <class Word>
bool page_runs::find_first(std::uint32_t words, std::atomic<std::uint32_t>& longest,
                           std::uint32_t alignment, Word&& word, page_run& out) noexcept {
    std::uint32_t most = 0;
    bool found = false;
    each_run(words, word, [&](std::uint32_t first, std::uint32_t n) {
        most = n > most ? n : most;
        const std::uint32_t skipped = (0 - first) & (alignment - 1);
        found = n >= skipped + out.pages;
        out.first = first + skipped;
        return !found;
    });
    if (!found) {
        longest.store(most, std::memory_order_relaxed);
    }
    return found;
}

template <class Word, class Hold>
bool page_runs::take_from(std::uint32_t words, std::atomic<std::uint32_t>& longest,
                          std::uint32_t alignment, Word&& word, Hold&& hold, page_run& r) noexcept {
    for (unsigned n = 0; n < tries && longest.load(std::memory_order_relaxed) >= r.pages &&
                         find_first(words, longest, alignment, word, r);
         ++n) {
        if (hold()) {
            return true;
        }
    }
    return false;
}

bool page_runs::take(owner_id owner, std::uint32_t pages, std::uint32_t alignment,
                     held& out) noexcept {
    out.cold_hull = {};
    page_run r{0, 0, pages};
    for (; r.chunk < high() && warm() >= pages; ++r.chunk) {
        head& h = head_of(r.chunk);
        const auto word = [&c = of(r.chunk)](std::uint32_t w) {
            return c.warm[w].load(std::memory_order_relaxed);
        };
        if (is_of(r.chunk, owner) && take_from(
                                         h.reached.load(std::memory_order_relaxed), h.longest_warm,
                                         alignment, word, [&] { return hold_warm(r, owner); }, r)) {
            out.run = r;
            return true;
        }
    }
    for (r.chunk = 0; r.chunk < high(); ++r.chunk) {
        const auto word = [&c = of(r.chunk)](std::uint32_t w) {
            return c.warm[w].load(std::memory_order_relaxed) |
                   c.cold[w].load(std::memory_order_relaxed);
        };
        if (is_of(r.chunk, owner) && take_from(
                                         record::words, head_of(r.chunk).longest, alignment, word,
                                         [&] {
                                             note_reached(r);
                                             return hold(r, owner, out);
                                         },
                                         r)) {
            return true;
        }
    }
    return false;
}

bool page_runs::take_at(const page_run& r, held& out) noexcept {
    if (r.end() > chunk_pages) {
        return false;
    }
    note_reached(r);
    return hold(r, owner_id::none, out);
}

// The end of the last warm run.
bool page_runs::find_last_warm(std::uint32_t chunk, std::uint32_t most,
                               page_run& out) const noexcept {
    const record& c = of(chunk);
    std::uint32_t end = 0;
    std::uint32_t first = 0;
    for (std::uint32_t w = head_of(chunk).reached.load(std::memory_order_relaxed); w-- != 0;) {
        const std::uint64_t bits = c.warm[w].load(std::memory_order_relaxed);
        if (end == 0) {
            if (bits == 0) {
                continue;
            }
            end = w * 64 + 64 - static_cast<std::uint32_t>(__builtin_clzll(bits));
            first = end;
        }
        const std::uint32_t behind = w * 64 + 64 - first; // bits of the word above those of the run
        const std::uint64_t gaps = ~(bits << behind);
        const std::uint32_t more =
            gaps == 0 ? 64 : static_cast<std::uint32_t>(__builtin_clzll(gaps));
        first -= more;
        if (first != w * 64 || end - first >= most) {
            break;
        }
    }
    first = end - first > most ? end - most : first;
    out = {chunk, first, end - first};
    return end != 0;
}

bool page_runs::take_warm(owner_id owner, std::uint32_t most, page_run& out) noexcept {
    for (std::uint32_t i = high(); i-- != 0;) {
        for (unsigned n = 0; n < tries && is_of(i, owner) && find_last_warm(i, most, out); ++n) {
            if (hold_warm(out, owner)) {
                return true;
            }
        }
    }
    return false;
}

page_run page_runs::find(std::uint32_t chunk, address where) const noexcept {
    const address offset = where - base_of(chunk);
    if (offset >= bytes_of(chunk_pages) || !is_live(chunk)) {
        return {};
    }
    const record& c = of(chunk);
    const auto page = static_cast<std::uint32_t>(pages_of(offset));
    if (const std::uint32_t n = c.lengths[page].load(std::memory_order_acquire); n != 0) {
        return {chunk, page, n};
    }
    const std::uint64_t free = c.warm[page / 64].load(std::memory_order_acquire) |
                               c.cold[page / 64].load(std::memory_order_acquire);
    if ((free >> page % 64 & 1) != 0) {
        return {};
    }
    for (std::uint32_t at = page; at-- != 0;) {
        const std::uint32_t n = c.lengths[at].load(std::memory_order_acquire);
        if (n != 0) {
            return at + n > page ? page_run{chunk, at, n} : page_run{};
        }
    }
    return {};
}

page_count page_runs::warm_in(std::uint32_t chunk) const noexcept {
    page_count sum = 0;
    for (std::uint32_t w = 0; w < record::words; ++w) {
        sum += ones(of(chunk).warm[w].load(std::memory_order_relaxed));
    }
    return sum;
}

page_count page_runs::warm_of(owner_id owner) const noexcept {
    page_count sum = 0;
    for (std::uint32_t i = 0; i < high(); ++i) {
        sum += is_of(i, owner) ? warm_in(i) : 0;
    }
    return sum;
}

} // namespace memreeve::manager
