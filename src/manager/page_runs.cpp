// SPDX-License-Identifier: MIT
#include "manager/page_runs.hpp"

namespace memreeve::manager {

namespace {

constexpr std::uint32_t ones(std::uint64_t bits) noexcept {
    return static_cast<std::uint32_t>(__builtin_popcountll(bits));
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

page_run page_runs::finish_making(std::uint32_t chunk, address base, owner_id owner,
                                  std::uint32_t pages) noexcept {
    head& h = head_of(chunk);
    const page_run own{chunk, 0, pages};
    record& c = of(chunk);
    h.base.store(base, std::memory_order_relaxed);
    h.owner.store(static_cast<std::uint32_t>(owner), std::memory_order_relaxed);
    h.longest.store(chunk_pages - pages, std::memory_order_relaxed);
    h.reached.store((pages + 63) / 64, std::memory_order_relaxed);
    for (std::uint32_t w = 0; w < record::words; ++w) {
        c.backed[w].store(0, std::memory_order_relaxed);
        c.taken[w].store(0, std::memory_order_release);
    }
    each_word(own, [&](std::uint32_t w, std::uint64_t mask) {
        c.taken[w].store(mask, std::memory_order_release);
        return true;
    });
    h.life.store(live, std::memory_order_release);
    return own;
}

void page_runs::give_up_making(std::uint32_t chunk, bool usable) noexcept {
    if (usable) {
        forget(chunk);
    } else {
        head_of(chunk).life.store(never_used, std::memory_order_release);
    }
}

bool page_runs::take_all(std::uint32_t chunk, owner_id owner, std::uint32_t& backed) noexcept {
    record& c = of(chunk);
    for (std::uint32_t w = 0; w < record::words; ++w) {
        std::uint64_t none = 0;
        const bool got =
            c.taken[w].compare_exchange_strong(none, ~std::uint64_t{0}, std::memory_order_acq_rel);
        if (!got || !is_of(chunk, owner)) {
            for (std::uint32_t back = 0; back < w + (got ? 1 : 0); ++back) {
                c.taken[back].store(0, std::memory_order_release);
            }
            return false;
        }
    }
    backed = backed_in({chunk, 0, chunk_pages});
    subtract_warm(chunk, backed);
    head_of(chunk).life.store(being_made, std::memory_order_release);
    return true;
}

void page_runs::forget(std::uint32_t chunk) noexcept {
    for (std::atomic<std::uint64_t>& word : of(chunk).taken) {
        word.store(~std::uint64_t{0}, std::memory_order_relaxed);
    }
    head_of(chunk).base.store(0, std::memory_order_relaxed);
    head_of(chunk).life.store(vacant, std::memory_order_release);
}

// ---- runs -------------------------------------------------------------------------------------------

bool page_runs::set_taken(const page_run& r) noexcept {
    record& c = of(r.chunk);
    std::uint32_t done = 0; // pages
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        std::uint64_t seen = c.taken[w].load(std::memory_order_relaxed);
        do {
            if ((seen & mask) != 0) {
                return false;
            }
        } while (!c.taken[w].compare_exchange_weak(seen, seen | mask, std::memory_order_acq_rel,
                                                   std::memory_order_relaxed));
        done += ones(mask);
        return true;
    });
    if (done != r.pages) {
        clear_taken({r.chunk, r.first, done});
    }
    return done == r.pages;
}

void page_runs::clear_taken(const page_run& r) noexcept {
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        of(r.chunk).taken[w].fetch_and(~mask, std::memory_order_acq_rel);
        return true;
    });
}

std::uint32_t page_runs::backed_in(const page_run& r) const noexcept {
    std::uint32_t n = 0;
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        n += ones(of(r.chunk).backed[w].load(std::memory_order_relaxed) & mask);
        return true;
    });
    return n;
}

// Free pages that were found become the caller's.
bool page_runs::hold(const page_run& r, owner_id owner) noexcept {
    head& h = head_of(r.chunk);
    std::uint32_t reached = h.reached.load(std::memory_order_relaxed);
    const std::uint32_t words = (r.end() + 63) / 64;
    while (reached < words &&
           !h.reached.compare_exchange_weak(reached, words, std::memory_order_relaxed)) {
    }
    if (!set_taken(r)) {
        return false;
    }
    if (!is_of(r.chunk, owner)) {
        clear_taken(r);
        return false;
    }
    if (const std::uint32_t warm = backed_in(r); warm != 0) {
        subtract_warm(r.chunk, warm);
    }
    return true;
}

bool page_runs::find_free(std::uint32_t chunk, bool is_warm, std::uint32_t pages,
                          std::uint32_t alignment, page_run& out) const noexcept {
    const record& c = of(chunk);
    head& h = head_of(chunk);
    const std::uint32_t reached = h.reached.load(std::memory_order_relaxed);
    std::uint32_t best = chunk_pages + 1;
    std::uint32_t longest = 0;
    each_run(
        is_warm ? reached : record::words,
        [&](std::uint32_t w) {
            if (w >= reached) {
                return ~std::uint64_t{0};
            }
            const std::uint64_t free = ~c.taken[w].load(std::memory_order_relaxed);
            return is_warm ? free & c.backed[w].load(std::memory_order_relaxed) : free;
        },
        [&](std::uint32_t first, std::uint32_t n) {
            longest = n > longest ? n : longest;
            const std::uint32_t skipped = (0 - first) & (alignment - 1);
            if (n < best && n >= skipped + pages) {
                best = n;
                out = {chunk, first + skipped, pages};
            }
            return n != pages || skipped != 0;
        });
    if (best > chunk_pages && !is_warm) {
        // A run that grows longer meanwhile is missed until the next one is let go.
        h.longest.store(longest, std::memory_order_relaxed);
    }
    return best <= chunk_pages;
}

bool page_runs::take(owner_id owner, std::uint32_t pages, std::uint32_t alignment,
                     page_run& out) noexcept {
    if (warm() >= pages) {
        for (std::uint32_t i = 0; i < high(); ++i) {
            if (!is_of(i, owner)) {
                continue;
            }
            for (unsigned n = 0;
                 n < tries && head_of(i).warm.load(std::memory_order_relaxed) >= pages &&
                 find_free(i, true, pages, alignment, out);
                 ++n) {
                if (hold(out, owner)) {
                    return true;
                }
            }
        }
    }
    for (std::uint32_t i = 0; i < high(); ++i) {
        if (!is_of(i, owner)) {
            continue;
        }
        for (unsigned n = 0;
             n < tries && head_of(i).longest.load(std::memory_order_relaxed) >= pages &&
             find_free(i, false, pages, alignment, out);
             ++n) {
            if (hold(out, owner)) {
                return true;
            }
        }
    }
    return false;
}

bool page_runs::take_at(const page_run& r) noexcept {
    return r.end() <= chunk_pages && hold(r, owner_id::none);
}

// The end of the last warm run.
bool page_runs::find_last_warm(std::uint32_t chunk, std::uint32_t most,
                               page_run& out) const noexcept {
    const record& c = of(chunk);
    std::uint32_t end = 0;
    std::uint32_t first = 0;
    for (std::uint32_t w = head_of(chunk).reached.load(std::memory_order_relaxed); w-- != 0;) {
        const std::uint64_t bits = c.backed[w].load(std::memory_order_relaxed) &
                                   ~c.taken[w].load(std::memory_order_relaxed);
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
            if (hold(out, owner)) {
                return true;
            }
        }
    }
    return false;
}

page_run page_runs::cold_part(const page_run& r) const noexcept {
    std::uint32_t first = r.end();
    std::uint32_t end = r.first;
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        const std::uint64_t cold = ~of(r.chunk).backed[w].load(std::memory_order_relaxed) & mask;
        if (cold != 0) {
            const std::uint32_t low = w * 64 + static_cast<std::uint32_t>(__builtin_ctzll(cold));
            first = low < first ? low : first;
            end = w * 64 + 64 - static_cast<std::uint32_t>(__builtin_clzll(cold));
        }
        return true;
    });
    return {r.chunk, first, first < end ? end - first : 0};
}

void page_runs::set_backed(const page_run& r, bool is_backed) noexcept {
    each_word(r, [&](std::uint32_t w, std::uint64_t mask) {
        std::atomic<std::uint64_t>& word = of(r.chunk).backed[w];
        if (is_backed) {
            word.fetch_or(mask, std::memory_order_relaxed);
        } else {
            word.fetch_and(~mask, std::memory_order_relaxed);
        }
        return true;
    });
}

std::uint32_t page_runs::let_go(const page_run& r) noexcept {
    const std::uint32_t warm = backed_in(r);
    if (warm != 0) {
        add_warm(r.chunk, warm);
    }
    head_of(r.chunk).longest.store(chunk_pages, std::memory_order_relaxed);
    clear_taken(r);
    return warm;
}

page_run page_runs::find(std::uint32_t chunk, address where) const noexcept {
    if (!is_live(chunk)) {
        return {};
    }
    const address base = base_of(chunk);
    if (where < base || where >= base + bytes_of(chunk_pages)) {
        return {};
    }
    const record& c = of(chunk);
    const auto page = static_cast<std::uint32_t>(pages_of(where - base));
    if ((c.taken[page / 64].load(std::memory_order_acquire) >> page % 64 & 1) == 0) {
        return {};
    }
    for (std::uint32_t at = page + 1; at-- != 0;) {
        const std::uint32_t n = c.lengths[at].load(std::memory_order_acquire);
        if (n != 0) {
            return at + n > page ? page_run{chunk, at, n} : page_run{};
        }
    }
    return {};
}

page_count page_runs::warm_of(owner_id owner) const noexcept {
    page_count sum = 0;
    for (std::uint32_t i = 0; i < high(); ++i) {
        if (is_of(i, owner)) {
            sum += head_of(i).warm.load(std::memory_order_relaxed);
        }
    }
    return sum;
}

} // namespace memreeve::manager
