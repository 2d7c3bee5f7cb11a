// SPDX-License-Identifier: MIT
// Runs of pages for heaps, cut from chunks of address space: what a heap has freed stays committed and
// serves the next run, whatever its size, without a system call or a page fault.
//
//   chunk     4096 pages of one owner, one reservation
//   warm      a bit per page: free, committed, charged
//   cold      a bit per page: free, not committed
//   neither   it belongs to a run, or to somebody at work on it
//
// Free runs coalesce by nature of the bitmaps. A page belongs to whoever has cleared its bit. So nothing
// is ever waited for: a thread stopped anywhere in here keeps others from the pages it holds and from
// nothing else (decision 18). Pure: commits and decommits are the manager's (runs.cpp); the memory of
// the records is given to it.
//
// The life of a chunk: vacant (no page is free), being made, live. Who wants a live chunk to end takes
// every page of it first. So who holds a page of a live chunk knows that it stays, and whoever has
// found one looks again at whose it is once he holds a page.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::manager {

struct page_run {
    std::uint32_t chunk = 0;
    std::uint32_t first = 0; // page of the chunk
    std::uint32_t pages = 0;

    std::uint32_t end() const noexcept { return first + pages; }
};

class page_runs {
public:
    static constexpr std::uint32_t chunk_pages = 4096; // 16 MiB
    static constexpr std::uint32_t longest_run = chunk_pages / 2;
    static constexpr std::uint32_t chunk_limit = 1024;

    struct head {
        std::atomic<address> base{0};
        std::atomic<std::uint32_t> owner{0};
        std::atomic<std::uint32_t> life{0};
        // No free run is longer, and no warm one, as far as known.
        std::atomic<std::uint32_t> longest{0};
        std::atomic<std::uint32_t> longest_warm{0};
        std::atomic<std::uint32_t> reached{0}; // words; all pages behind them are free and cold
    };
    // What no search looks at first lies apart. Zeroed memory is a vacant chunk that was never used.
    struct alignas(page_size) record {
        static constexpr std::uint32_t words = chunk_pages / 64;
        std::atomic<std::uint64_t> warm[words];
        std::atomic<std::uint64_t> cold[words];
        std::atomic<std::uint16_t> lengths[chunk_pages]; // of the run that begins there; 0: none
        std::atomic<std::uint64_t> tags[chunk_pages];    // likewise
    };
    // Pages that the caller holds, and which of them are cold.
    struct held {
        page_run run{};
        page_run cold_hull{}; // no pages: all are warm
        std::uint64_t cold[record::words + 1];

        bool is_cold(std::uint32_t page) const noexcept {
            const std::uint32_t at = page - run.first / 64 * 64;
            return cold_hull.pages != 0 && (cold[at / 64] >> at % 64 & 1) != 0;
        }
    };
    static constexpr byte_count heads_bytes = chunk_limit * sizeof(head);
    static_assert(heads_bytes % page_size == 0);

    constexpr page_runs() noexcept = default;
    page_runs(const page_runs&) = delete;
    page_runs& operator=(const page_runs&) = delete;

    // Bytes for `chunks` chunks; zeroed where accessible.
    static constexpr byte_count bytes_for(std::uint32_t chunks) noexcept {
        return heads_bytes + chunks * sizeof(record);
    }
    bool is_open() const noexcept { return heads_.load(std::memory_order_acquire) != 0; }
    // Where the records are to be: `at` has room for `chunks`, and is not accessible yet. False: another
    // place is known already.
    bool set_place(address at, std::uint32_t chunks) noexcept;
    range place() const noexcept {
        const address at = place_.load(std::memory_order_acquire);
        return at == 0 ? range{} : range{at, at + bytes_for(capacity_)};
    }
    // The first heads_bytes of the place are accessible.
    void open() noexcept {
        heads_.store(place_.load(std::memory_order_acquire), std::memory_order_release);
    }
    // Nobody may be inside. What is to be unmapped.
    range close() noexcept;

    // ---- chunks -----------------------------------------------------------------------------------
    // A vacant chunk, in the caller's hands; chunk_limit when there is none. is_new: its record's
    // memory is to be made accessible before anything else.
    std::uint32_t begin_making(bool& is_new) noexcept;
    range record_of(std::uint32_t chunk) const noexcept {
        const address at = reinterpret_cast<address>(&of(chunk));
        return {at, at + sizeof(record)};
    }
    // It lies at `base`, wholly cold, for everybody; but its first `pages` are the caller's.
    void finish_making(std::uint32_t chunk, address base, owner_id owner, std::uint32_t pages,
                       held& out) noexcept;
    // It could not be made. `usable`: its record can be.
    void give_up_making(std::uint32_t chunk, bool usable) noexcept;
    // Takes every page of a chunk that has no run; `backed` of them are warm. False: it has one, or is
    // somebody else's by now.
    bool take_all(std::uint32_t chunk, owner_id owner, held& out, std::uint32_t& backed) noexcept;
    // After take_all: the chunk is vacant; or it goes on as it was.
    void forget(std::uint32_t chunk) noexcept;
    void go_on(const held& all) noexcept;
    std::uint32_t high() const noexcept { return high_.load(std::memory_order_acquire); }
    bool is_live(std::uint32_t chunk) const noexcept {
        return chunk < high() && head_of(chunk).life.load(std::memory_order_acquire) == live;
    }
    owner_id owner_of(std::uint32_t chunk) const noexcept {
        return static_cast<owner_id>(head_of(chunk).owner.load(std::memory_order_relaxed));
    }
    address base_of(std::uint32_t chunk) const noexcept {
        return head_of(chunk).base.load(std::memory_order_relaxed);
    }
    page_count warm_in(std::uint32_t chunk) const noexcept;

    // ---- runs -------------------------------------------------------------------------------------
    // Free pages of this owner's chunks, warm ones if there are so many in one place; the lowest. So what
    // is little used comes to lie at the end, in few runs. `alignment` in pages, of the address.
    bool take(owner_id owner, std::uint32_t pages, std::uint32_t alignment, held& out) noexcept;
    // These pages; false when one is not free, or behind the end.
    bool take_at(const page_run& r, held& out) noexcept;
    // At most `most` warm pages behind each other, of a chunk of this owner (none: of any).
    bool take_warm(owner_id owner, std::uint32_t most, page_run& out) noexcept;
    // The caller lets go of pages as they were when he took them.
    void put_back(const held& h) noexcept;
    // The caller lets go of pages, all of them warm, or cold.
    void let_go_warm(const page_run& r) noexcept;
    void let_go_cold(const page_run& r) noexcept;

    address address_of(const page_run& r) const noexcept {
        return base_of(r.chunk) + bytes_of(r.first);
    }
    range range_of(const page_run& r) const noexcept {
        const address begin = address_of(r);
        return {begin, begin + bytes_of(r.pages)};
    }
    // The run is in use, and found again by its first page.
    void publish(const page_run& r, std::uint64_t tag) noexcept {
        of(r.chunk).tags[r.first].store(tag, std::memory_order_relaxed);
        of(r.chunk).lengths[r.first].store(static_cast<std::uint16_t>(r.pages),
                                           std::memory_order_release);
    }
    // Of a chunk that is held whole: where it is found. 0: nowhere.
    void set_base(std::uint32_t chunk, address base) noexcept {
        head_of(chunk).base.store(base, std::memory_order_release);
    }
    // The chunk that `where` lies in, of the first few; chunk_limit: of none of them. is_all: there are
    // no others.
    std::uint32_t chunk_at(address where, bool& is_all) const noexcept {
        const std::uint32_t n = high();
        is_all = n <= few;
        for (std::uint32_t i = 0; i < (is_all ? n : few); ++i) {
            if (where - base_of(i) < bytes_of(chunk_pages)) {
                return i;
            }
        }
        return chunk_limit;
    }
    // The published run that `where` lies in; no pages: none.
    page_run find(std::uint32_t chunk, address where) const noexcept;
    std::uint64_t tag_of(const page_run& r) const noexcept {
        return of(r.chunk).tags[r.first].load(std::memory_order_relaxed);
    }
    void retract(const page_run& r) noexcept {
        of(r.chunk).lengths[r.first].store(0, std::memory_order_release);
    }

    // ---- figures ----------------------------------------------------------------------------------
    page_count warm() const noexcept { return warm_.load(std::memory_order_relaxed); }
    // Looks at every page.
    page_count warm_of(owner_id owner) const noexcept;
    // In the only thread of a fork's child: remap(owner) is its owner from now on. What other threads
    // held stays taken.
    template <class F>
    void settle_after_fork(F&& remap) noexcept;

private:
    enum : std::uint32_t { never_used = 0, vacant, being_made, live };
    static constexpr std::uint32_t few = 8;
    static constexpr unsigned tries = 4; // of a chunk where others took the pages found

    head& head_of(std::uint32_t chunk) const noexcept {
        return reinterpret_cast<head*>(heads_.load(std::memory_order_acquire))[chunk];
    }
    record& of(std::uint32_t chunk) const noexcept {
        return reinterpret_cast<record*>(heads_.load(std::memory_order_acquire) +
                                         heads_bytes)[chunk];
    }
    bool is_of(std::uint32_t chunk, owner_id owner) const noexcept {
        const head& h = head_of(chunk);
        return h.life.load(std::memory_order_acquire) == live &&
               (owner == owner_id::none ||
                h.owner.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(owner));
    }
    bool hold_warm(const page_run& r, owner_id owner) noexcept;
    bool hold(const page_run& r, owner_id owner, held& out) noexcept;
    void note_reached(const page_run& r) noexcept;
    static void add(std::atomic<std::uint64_t>* bits, const page_run& r) noexcept;
    template <class Word>
    static bool find_first(std::uint32_t words, std::atomic<std::uint32_t>& longest,
                           std::uint32_t alignment, Word&& word, page_run& out) noexcept;
    template <class Word, class Hold>
    bool take_from(std::uint32_t words, std::atomic<std::uint32_t>& longest,
                   std::uint32_t alignment, Word&& word, Hold&& hold, page_run& r) noexcept;
    bool find_last_warm(std::uint32_t chunk, std::uint32_t most, page_run& out) const noexcept;
    // Counted before they are there and until they are not: never too low.
    void add_warm(std::uint32_t pages) noexcept {
        warm_.fetch_add(pages, std::memory_order_relaxed);
    }
    void subtract_warm(std::uint32_t pages) noexcept {
        warm_.fetch_sub(pages, std::memory_order_relaxed);
    }
    void forget_longest(std::uint32_t chunk) noexcept {
        head_of(chunk).longest.store(chunk_pages, std::memory_order_relaxed);
        head_of(chunk).longest_warm.store(chunk_pages, std::memory_order_relaxed);
    }

    // Of each word of a run: f(word, the run's bits in it); false ends it.
    template <class F>
    static void each_word(const page_run& r, F&& f) noexcept {
        for (std::uint32_t page = r.first; page < r.end();) {
            const std::uint32_t bit = page % 64;
            const std::uint32_t n = r.end() - page < 64 - bit ? r.end() - page : 64 - bit;
            const std::uint64_t mask = (n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1)
                                       << bit;
            if (!f(page / 64, mask)) {
                return;
            }
            page += n;
        }
    }
    // Of each run of ones in the first `words` words: f(first, number); false ends it.
    template <class Word, class F>
    static void each_run(std::uint32_t words, Word&& word, F&& f) noexcept;

    std::atomic<address> heads_{0}; // place_, once it may be read
    std::atomic<address> place_{0};
    std::uint32_t capacity_ = 0;         // set before place_, by all alike
    std::atomic<std::uint32_t> high_{0}; // one past the last that was in use
    std::atomic<page_count> warm_{0};
};

template <class Word, class F>
void page_runs::each_run(std::uint32_t words, Word&& word, F&& f) noexcept {
    std::uint32_t w = 0;
    for (std::uint64_t bits = words != 0 ? word(0) : 0;;) {
        while (bits == 0) {
            if (++w >= words) {
                return;
            }
            bits = word(w);
        }
        auto at = static_cast<std::uint32_t>(__builtin_ctzll(bits));
        const std::uint32_t first = w * 64 + at;
        std::uint64_t gaps = ~bits & ~std::uint64_t{0} << at;
        while (gaps == 0) {
            if (++w == words) {
                f(first, words * 64 - first);
                return;
            }
            bits = word(w);
            gaps = ~bits;
        }
        at = static_cast<std::uint32_t>(__builtin_ctzll(gaps));
        if (!f(first, w * 64 + at - first)) {
            return;
        }
        bits &= ~std::uint64_t{0} << at;
    }
}

template <class F>
void page_runs::settle_after_fork(F&& remap) noexcept {
    page_count sum = 0;
    for (std::uint32_t i = 0; i < high(); ++i) {
        head& h = head_of(i);
        if (h.life.load(std::memory_order_relaxed) != live) {
            continue;
        }
        h.owner.store(static_cast<std::uint32_t>(remap(owner_of(i))), std::memory_order_relaxed);
        sum += warm_in(i);
    }
    warm_.store(sum, std::memory_order_relaxed);
}

} // namespace memreeve::manager
