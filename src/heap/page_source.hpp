// SPDX-License-Identifier: MIT
// What the heap needs from below: pages already charged to its owner, and a way back. The heap does
// not know where they come from (manager composes), and so heap pages are charged like all others.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::heap {

// A range from take(): where it begins, which is how it is named from then on, and where the pages
// in it begin that were asked for.
struct taken {
    address begin = 0;
    address pages = 0;
    byte_count size = 0; // of the pages; more than was asked for only up to wish::most
};

// What is wanted of a range. Sizes in bytes, rounded up to pages.
struct wish {
    byte_count size = 0;                 // of the pages: zeroed, read-write, charged
    byte_count most = 0;                 // a range of up to so many is as good; 0: `size`
    byte_count room = 0;                 // of address space to grow into; at least `size`
    byte_count alignment = granule_size; // of the pages; a power of two
    byte_count guard = 0;                // of address space that stays inaccessible, on both sides;
                                         // with no alignment and no room
    std::uint64_t tag = 0;               // any non-zero word, found again by tag_of
    bool executable = false;             // execute too
    bool may_be_used = false;            // contents do not matter
    bool beside_others = false;          // other ranges may begin and end in its granules
    criticality level = criticality::task;
};

// Round whatever the heap writes down for itself: who writes on past a block meets it first (A1).
inline constexpr byte_count records_guard = page_size;

// Where a thread counts what it asks of a heap.
struct tally {
    std::atomic<std::uint64_t>* allocations = nullptr;
    std::atomic<std::uint64_t>* frees = nullptr;
    bool is_shared = true; // by threads: only locked instructions count right

    void count_allocation() const noexcept { add(*allocations, 1); }
    void count_free() const noexcept { add(*frees, 1); }
    void count_allocations(std::uint64_t n) const noexcept { add(*allocations, n); }
    void count_frees(std::uint64_t n) const noexcept { add(*frees, n); }

private:
    void add(std::atomic<std::uint64_t>& count, std::uint64_t n) const noexcept {
        if (is_shared) {
            count.fetch_add(n, std::memory_order_relaxed);
        } else {
            count.store(count.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
        }
    }
};

class page_source {
public:
    // A range of its own. Errors: over_budget, out_of_address_space, forbidden (policy against write
    // + execute); nothing has changed then. The same for all that return a result.
    virtual result<taken> take(const wish& w) noexcept = 0;
    // Gives back a whole range got from take(). Never fails outwardly. Some ranges are kept for the
    // next who takes as much, charged as before.
    virtual void give_back(address begin) noexcept = 0;
    // Lets go of what is kept so; the bytes given back.
    virtual byte_count trim() noexcept = 0;
    // The pages `now` of the range at `begin` become `size` bytes where they are: more are charged,
    // fewer are given back or kept, and then nothing is refused for want of memory.
    // out_of_address_space when there is no room behind them.
    virtual result<void> resize(address begin, range now, byte_count size, bool executable,
                                criticality level) noexcept = 0;
    // The pages `now` of the range at `begin`, with their contents, become the first ones of a new
    // range, and the old one is gone. Only the difference is charged. w.size > now.size().
    virtual result<taken> move(address begin, range now, const wish& w) noexcept = 0;
    // The tag of the taken range that contains `where` and, in `begin`, its start; 0 when `where`
    // lies in none. Lock-free; any address may be asked.
    virtual std::uint64_t tag_of(address where, address* begin) noexcept = 0;

    // Copies what lies at `from`, which may be gone or go at any moment.
    enum class peeked : unsigned char { copied, gone, not_allowed };
    virtual peeked peek(address from, void* to, byte_count size) noexcept = 0;

    // ---- threads --------------------------------------------------------------------------------
    // A place of its own to count in, if one is left (`alone`), else one that threads share.
    virtual tally take_tally(bool alone) noexcept = 0;
    // What was counted there stays counted.
    virtual void give_back_tally(const tally& t) noexcept = 0;
    // Process and thread, in thread_bits bits; 0 when the system does not tell.
    static constexpr unsigned thread_bits = 44;
    virtual std::uint64_t this_thread() noexcept = 0;
    // That thread of this process has ended. False when in doubt.
    virtual bool is_gone(std::uint64_t thread) noexcept = 0;

protected:
    ~page_source() = default;
};

} // namespace memreeve::heap
