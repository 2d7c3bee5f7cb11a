// SPDX-License-Identifier: MIT
// Which pages belong to which reservation and in what state: a radix tree over the address space,
// pure (no system call; its memory comes through record_array). The words: map_word.hpp.
//
//   level  entry spans  entries  entry
//   0      64 GiB       2048     one word: empty | uniform | node
//   1      256 MiB      256      the same
//   2      2 MiB        128      the same
//   3      64 KiB       32       one word: empty | uniform | pair | record
//
// An upper entry that lies wholly inside one reservation and in one state is `uniform`: a
// reservation of 1 TiB costs 16 words. It is split into a node when a part changes. Nodes are never
// taken away again (like page tables), so a reader may stand anywhere at any time.
//
// A node of level 1 or 2 has a summary behind its entries: a base word, and one bit for each entry. Where
// the bit is clear, all pages below the entry are as the base says (claims and inheritance aside), so
// the search for the end of a run goes on at the next set bit. split() makes a node with the base of
// the entry it replaces and all bits clear; publish() and install() set the bits on their way before
// they change a page; install() over all of a node begins it anew. A set bit says nothing. Only what
// lies inside the live reservation that the base names may be believed.
//
// Claims. A request owns the pages it is going to change by claiming them with one compare-and-swap
// for each entry; nobody waits for a lock, two requests for different pages never meet, not even
// inside one granule. The codes stay as they were until publish(), which installs the new code and
// drops the claim; readers see the old state until then (decision 18). Who holds a claim may read
// the codes under it as constant.
//
// A granule's word, and who may change it (R: its page_record; "all" are the pages the reservation has
// in the granule):
//
//   from                       to                           by                   how
//   -------------------------  ---------------------------  -------------------  ----------------------
//   empty                      uniform                      install              store: owns the addresses
//   uniform, pair, R at rest   the same | claimed           claim of all         CAS
//   uniform, pair, R at rest   new R, its claims set        claim of some        CAS; the old R is free
//   R, claims set              the same                     claim of more        CAS on R.meta
//   R, claims set              the same, at rest            last claim ends      CAS on R.meta
//   R at rest, <= 2 kinds      uniform, pair                whoever sees it      CAS; R is free
//   claimed                    uniform, or as it was        publish, unclaim     store
//   claimed                    R, claims of what is left    the same for some    store
//   claimed                    empty                        remove               store
//
// Row in full: a record whose claims are set belongs to its granule until the last claim ends; from
// then on it is at rest, nobody changes it any more, so everybody who looks at it packs it into the same
// word, and whoever's compare-and-swap succeeds frees the record. A thread suspended at any step leaves
// at worst a record that the next one packs, one record that is lost, or its own claim.
// A record taken anew has the next of 2^32 generations, which stands in the word and in R.meta: a
// reader who finds the word again after reading R has read R of this granule, and a late claimer's
// compare-and-swap fails. Words without a record say everything themselves, so for them an equal word
// is an equal state.
//
// Moment of truth. A reservation inside one granule comes and goes with its word; a larger one with
// reservation::life. What reads a reservation's record finds the same live `life` before and after, and
// in between the entry it came from unchanged.
//
// Memory. claim of all and publish need none, so a release needs none; claim of some may fail.
//
// Readers (find, query, next_base) are lock-free, allocate nothing, and are right while other threads
// change the map or are suspended inside it.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"
#include "vm/free_stacks.hpp"
#include "vm/map_word.hpp"
#include "vm/page_records.hpp"
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

// What query() answers: what VirtualQuery asks, for a small reservation from one word.
struct run_view {
    address at = 0;            // page of the address asked for; the rest only when it is not free
    address run_end = 0;       // exclusive; pages that VirtualQuery joins (rule Q8)
    address base = 0;          // AllocationBase
    std::uint32_t protect = 0; // AllocationProtect
    std::uint32_t flags = 0;   // reservation_flag, where has_flags
    page_code code = page_code::outside;
    bool has_flags = false; // the reservation's record had to be read
    bool claimed = false; // a request holds a page of the granule (or larger uniform entry) of `at`
};

class region_map {
public:
    constexpr region_map() noexcept = default;

    // `root` : 2048 zeroed words that live as long as the map. `nodes` hands out records of
    // node_unit bytes, `reservations` records of sizeof(reservation); zero-filled. Both are open.
    static constexpr std::uint32_t root_entries = 2048;
    static constexpr std::uint32_t node_unit = 1U << page_records::unit_shift;
    void open(std::atomic<std::uint64_t>* root, record_array* nodes,
              record_array* reservations) noexcept;

    // ---- readers ------------------------------------------------------------------------------
    found find(address a) const noexcept;
    // The same in one look: `run_end` may be too low.
    found find_owner(address a) const noexcept;
    // The same without what only writers need; false: the page is free. Precondition:
    // a < top_address.
    bool query(address a, run_view& out) const noexcept;
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
    // Pages that the caller holds: what it claimed, or runs of it as for_each_run() gives them.
    void unclaim(range where) noexcept;
    // Runs of equal code (and equal inheritance) under the caller's claim, in ascending order:
    // f(range, page_code, bool inherited). f may publish or unclaim the run it is told.
    template <class F>
    void for_each_run(range where, F&& f) const noexcept;
    // New code for all pages of `where` (as for unclaim); ends the claim. Inheritance (charged to the
    // parent of a fork) ends too unless it is kept.
    void publish(range where, page_code code, bool keep_inherited) noexcept;

    // ---- after fork -------------------------------------------------------------------------------
    // False for a live reservation whose only granule does not name it: a thread of the parent, which
    // is not here, was about to install it or had just removed it.
    bool holds(std::uint32_t index) const noexcept;
    // In the only thread of a child: f(range, index, code, claimed) for every run of every
    // reservation that is not free, then claims are dropped and charged pages become inherited.
    template <class F>
    void settle_after_fork(F&& f) noexcept;

    reservation& at(std::uint32_t index) const noexcept {
        return *static_cast<reservation*>(reservations_->at(index));
    }
    std::uint32_t reservations_high() const noexcept {
        return static_cast<std::uint32_t>(reservations_->used());
    }
    std::uint32_t live_count() const noexcept; // looks at every record

    // Reads everything and says what is wrong, or null. O(map in use), no memory. quiescent: no
    // other thread is inside the map. claims_allowed: no thread changes the map meanwhile, but
    // claims are held.
    enum class at_rest : unsigned char { quiescent, claims_allowed };
    const char* check_invariants(at_rest what = at_rest::quiescent) const noexcept;

private:
    using word = std::atomic<std::uint64_t>;
    using purpose = page_records::purpose;
    struct cursor {
        word* entry = nullptr; // the deepest that covers the address
        unsigned level = 0;
        address begin = 0; // of the entry
        std::uint64_t seen = 0;
    };
    enum class step : unsigned char { next, again, stop };

    cursor descend(address a) const noexcept;
    word* node_words(std::uint64_t w) const noexcept {
        return reinterpret_cast<word*>(
            node_base_ + (address{map_detail::node_of(w)} << page_records::unit_shift));
    }
    // Behind the entries of a node: its base, then the bits.
    static word& base_of(word* words, unsigned level) noexcept {
        return words[map_detail::entries_at(level)];
    }
    static bool is_summed(unsigned level) noexcept { return level == 1 || level == 2; }
    static void mark(word* words, unsigned level, std::uint32_t first, std::uint32_t last) noexcept;
    void mark_path(range where) noexcept;
    void fill(word* words, unsigned level, address begin, range where, std::uint32_t index,
              page_code code) noexcept;
    // The deepest entries that overlap `where`, in ascending order: f(word&, what it holds, level,
    // range of the entry) -> step. `again` looks at the same place once more.
    template <class F>
    void scan(range where, F&& f) const noexcept;
    // Every entry that is not empty: f(word&, what it holds, level, range of the entry).
    template <class F>
    void walk(word* words, unsigned level, address begin, F& f) const noexcept;
    template <class F>
    static void each_run(const map_detail::granule_pages& g, unsigned first, unsigned last,
                         F&& f) noexcept;

    std::uint32_t take_node(unsigned child_level) noexcept;
    void give_node(std::uint32_t index, unsigned child_level) noexcept;
    bool split(word& w, std::uint64_t seen, unsigned level, bool& no_memory) noexcept;
    std::uint32_t take_reservation() noexcept;
    void give_reservation(std::uint32_t index) noexcept;

    // A granule's pages; false: the word changed meanwhile. Of a record: its claims too.
    bool read(const word& entry, std::uint64_t w, map_detail::granule_pages& out,
              std::uint64_t& meta) const noexcept;
    enum class source : unsigned char {
        record,
        record_only,
        word
    }; // record_only: no run beyond it
    bool look(address a, source& from, found& out, bool& claimed) const noexcept;
    bool query_further(run_view& out) const noexcept;
    address run_beyond(address from, address limit, std::uint32_t index,
                       page_code code) const noexcept;
    std::uint32_t place_in(std::uint32_t index, range whole, address granule) const noexcept;

    step claim_granule(word& entry, std::uint64_t w, std::uint32_t index, std::uint32_t pages,
                       address granule, claim_outcome& outcome) noexcept;
    step claim_some(word& entry, std::uint64_t w, const map_detail::granule_pages& g,
                    std::uint32_t pages, address granule, claim_outcome& outcome) noexcept;
    void publish_granule(word& entry, std::uint64_t w, std::uint32_t pages, address granule,
                         page_code code, bool keep_inherited) noexcept;
    void unclaim_granule(word& entry, std::uint64_t w, std::uint32_t pages,
                         address granule) noexcept;
    void keep_claims(word& entry, std::uint64_t w, const map_detail::granule_pages& g,
                     std::uint32_t claims, address granule) noexcept;
    void end_claims(word& entry, std::uint64_t w, std::uint32_t pages) noexcept;
    void tidy(word& entry, std::uint64_t w) noexcept;
    void write(page_record& r, const map_detail::granule_pages& g, std::uint32_t claims,
               std::uint32_t generation, address granule) noexcept;
    void settle_records() noexcept;

    struct checking;

    word* root_ = nullptr;
    address node_base_ = 0;
    record_array* nodes_ = nullptr;
    record_array* reservations_ = nullptr;
    page_records records_{};
    free_stacks free_reservations_{};
    std::atomic<std::uint64_t> free_nodes_[4]{}; // per child level: tag << 32 | index
    std::uint32_t lost_records_ = 0;             // by threads that a fork left behind
};

} // namespace memreeve::vm

#include "vm/region_map.inl"
