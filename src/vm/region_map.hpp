// SPDX-License-Identifier: MIT
// Which pages belong to which reservation and in what state: a radix tree over the address space,
// pure (no system call; its memory comes through record_array).
//
//   level  entry spans  entries  entry
//   0      64 GiB       2048     one word: empty | uniform(reservation, code) | node
//   1      256 MiB      256      the same
//   2      2 MiB        128      the same
//   3      64 KiB       32       leaf: 16 codes of 4 bits, 16 claims, the reservation
//
// An upper entry that lies wholly inside one reservation and in one state is `uniform`: a
// reservation of 1 TiB costs 16 words. It is split into a node when a part changes. Nodes are never
// taken away again (like page tables), so a reader may stand anywhere at any time.
//
// Claims. A request owns the pages it is going to change by setting their claim bits by
// compare-and-swap; nobody waits for a lock, two requests for different pages never meet, not even
// inside one granule. The codes stay as they were until publish(), which installs the new code and
// drops the claim; readers see the old state until then (decision 18). Who holds a claim may read
// the codes under it as constant.
//
// Readers (find, next_base) are lock-free, allocate nothing, and are right while other threads
// change the map or are suspended inside it.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "vm/page_state.hpp"
#include "vm/record_array.hpp"
#include "vm/reservation.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

enum class claim_outcome : unsigned char {
    claimed,
    busy,    // another request holds a page of the range: retry or give up
    changed, // the range is no longer inside that reservation: look again
    no_memory,
};

// What find() answers: the longest run of like pages from `at` on inside one reservation.
struct found {
    std::uint32_t index = 0; // of the reservation; 0: the page is free
    std::uint32_t life = 0;
    range whole{};       // the reservation
    address at = 0;      // page of the address asked for
    address run_end = 0; // exclusive
    page_code code = page_code::outside;
    std::uint32_t protect = 0; // AllocationProtect
    owner_id owner = owner_id::none;
    std::uint64_t tag = 0;
    std::uint32_t flags = 0;
};

class region_map {
public:
    constexpr region_map() noexcept = default;

    // `root` : 2048 zeroed words that live as long as the map. `nodes` hands out records of
    // node_unit bytes, `reservations` records of sizeof(reservation); zero-filled.
    static constexpr std::uint32_t root_entries = 2048;
    static constexpr std::uint32_t node_unit = 512;
    void open(std::atomic<std::uint64_t>* root, record_array* nodes,
              record_array* reservations) noexcept;

    // ---- readers ------------------------------------------------------------------------------
    found find(address a) const noexcept;
    // Base of the lowest live reservation at or above `a`'s granule; top_address when there is none.
    address next_base(address a, address limit = top_address) const noexcept;

    // ---- making and removing reservations -------------------------------------------------------
    // A building reservation; 0 when records have run out.
    std::uint32_t make(range where, owner_id owner, std::uint32_t protect, std::uint32_t flags,
                       std::uint64_t tag) noexcept;
    // Where a building reservation lies, once that is known.
    void place(std::uint32_t index, range where) noexcept;
    // Takes the memory that install() needs. false: records have run out, nothing is visible.
    bool prepare(range where) noexcept;
    // Makes it live with every page in `code`. The caller owns the addresses. Cannot fail after
    // prepare().
    void install(std::uint32_t index, page_code code) noexcept;
    // Takes it out of the tree; readers see free pages from the first moment on. Precondition: every
    // page is claimed by the caller, or it was never installed. Ends the claims. The record stays
    // with the caller until forget().
    void remove(std::uint32_t index) noexcept;
    // The record may be used again.
    void forget(std::uint32_t index) noexcept;

    // ---- changing pages -------------------------------------------------------------------------
    // All pages of `where` or none. `index` and `life` as find() gave them.
    claim_outcome claim(std::uint32_t index, std::uint32_t life, range where) noexcept;
    void unclaim(range where) noexcept;
    // Runs of equal code (and equal inheritance) under the caller's claim, in ascending order:
    // f(range, page_code, bool inherited).
    template <class F>
    void for_each_run(range where, F&& f) const noexcept;
    // New code for all pages of `where`, which the caller holds; ends the claim. Inheritance (charged
    // to the parent of a fork) ends too unless it is kept.
    void publish(range where, page_code code, bool keep_inherited) noexcept;

    // ---- after fork -------------------------------------------------------------------------------
    // In the only thread of a child: f(range, code, claimed) for every run of every reservation that
    // is not free, then claims are dropped and charged pages become inherited.
    template <class F>
    void settle_after_fork(F&& f) noexcept;

    reservation& at(std::uint32_t index) const noexcept {
        return *static_cast<reservation*>(reservations_->at(index));
    }
    std::uint32_t reservations_high() const noexcept {
        return static_cast<std::uint32_t>(reservations_->used());
    }
    std::uint32_t live_count() const noexcept { return live_.load(std::memory_order_relaxed); }

    // Reads everything and says what is wrong, or null. Quiescent callers only; O(map).
    const char* check_invariants() const noexcept;

private:
    using word = std::atomic<std::uint64_t>;
    struct leaf_entry {
        word meta;  // claims | inherited << 16 | reservation << 32 | version << 56
        word codes; // 16 x 4 bits
    };
    struct cursor {
        word* upper = nullptr; // set when the deepest entry is not a leaf
        leaf_entry* leaf = nullptr;
        unsigned level = 0;
        range span{}; // of the entry
    };

    cursor descend(address a) const noexcept;
    word* node_words(std::uint64_t w) const noexcept;
    std::uint32_t take_node(unsigned child_level) noexcept;
    void give_node(std::uint32_t index, unsigned child_level) noexcept;
    bool split(word& w, std::uint64_t seen, unsigned level, bool& no_memory) noexcept;
    bool live_run(found& out, address a) const noexcept;
    template <class F>
    void walk(word* words, unsigned level, address begin, F& f) const noexcept;

    word* root_ = nullptr;
    record_array* nodes_ = nullptr;
    record_array* reservations_ = nullptr;
    std::atomic<std::uint64_t> free_reservations_{0}; // tag << 32 | index
    std::atomic<std::uint64_t> free_nodes_[4]{};      // per child level, the same
    std::atomic<std::uint32_t> live_{0};
};

} // namespace memreeve::vm

#include "vm/region_map.inl"
