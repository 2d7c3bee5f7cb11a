// SPDX-License-Identifier: MIT
// The naive twin: Win32 virtual memory as one record per page, written from the rules alone and
// sharing nothing with src/. Obvious before all; quick enough for twenty million operations, because a
// reservation keeps its pages in an array. Reservations placed by the implementation are told to it
// afterwards (`placed`); everything else it works out itself.
//
// Contents are kept in full: a shadow of 4 KiB for each page that was ever written.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

namespace memreeve::differential {

// One deliberate mistake each: the checker must find every one of them.
enum class plant {
    none,
    size_rounds_to_64k,         // A8
    recommit_keeps_protection,  // A13
    commit_spans_reservations,  // A11
    free_of_nothing_is_87,      // F4
    overrun_is_487,             // F5
    decommit_keeps_contents,    // S2
    release_at_any_page,        // F6
    protect_skips_uncommitted,  // V6
    old_of_the_last_page,       // V7
    protect_changes_allocation, // V8
    guard_stays,                // G2
    guard_on_reserved,          // G3
    execute_is_not_readable,    // G1
    neighbours_merge,           // Q7
    query_from_region_start,    // Q4
    recommit_clears,            // A13: contents
    noaccess_loses_contents,    // V8
    reset_needs_commit,         // A16
    commit_is_not_charged,      // the books
    writable_is_not_executable, // the kernel: 40h as read-write
    count,
};

class page_model {
public:
    static constexpr std::uint64_t page = 0x1000;
    static constexpr std::uint64_t granule = 0x10000;
    static constexpr std::uint64_t top = 0x7fffffff0000;

    struct outcome {
        unsigned error = 0;       // Win32
        std::uint64_t value = 0;  // address or old protection
        bool anywhere = false;    // success: the implementation chooses, tell placed()
        unsigned may_fail_as = 0; // success and this error are both right: tell decided()
    };
    struct region {
        std::uint64_t base = 0, size = 0, allocation_base = 0;
        std::uint32_t state = 0, protect = 0, allocation_protect = 0;
    };
    struct page_record {
        std::uint16_t protect = 0; // 0: reserved
        bool undefined = false;    // MEM_RESET: as written or zero, until written again
        bool written = false;      // write watch
        std::uint32_t shadow = 0;  // of its contents; 0: all zero
    };
    struct reservation {
        std::uint64_t base = 0, end = 0;
        std::uint32_t protect = 0;
        bool watched = false;
        std::uint64_t committed = 0;
        std::vector<page_record> pages;
    };

    page_model(plant mistake, std::uint64_t begin, std::uint64_t end, bool watches)
        : mistake_(mistake), watches_(watches), begin_(begin), end_(end),
          granules_((end - begin) / granule, nullptr) {
        shadows_.push_back(nullptr);
    }

    std::uint64_t begin() const { return begin_; } // of the window that the model has for itself
    std::uint64_t end() const { return end_; }
    bool is_in_window(std::uint64_t a) const { return a - begin_ < end_ - begin_; }

    outcome alloc(std::uint64_t a, std::uint64_t size, std::uint32_t type, std::uint32_t protect) {
        constexpr std::uint32_t commit = 0x1000, reserve = 0x2000, reset = 0x80000,
                                top_down = 0x100000, watch = 0x200000, physical = 0x400000,
                                undo = 0x1000000, large = 0x20000000;
        if (a != 0 && a < granule) {
            return refuse(87); // A1
        }
        if ((type & ~(commit | reserve | reset | top_down | watch | physical | undo | large)) !=
                0 ||
            (type & (commit | reserve | reset | undo)) == 0 ||
            ((type & reset) != 0 && type != reset) || ((type & undo) != 0 && type != undo)) {
            return refuse(87); // A2
        }
        if ((type & watch) != 0 && ((type & reserve) == 0 || !watches_)) {
            return refuse(87); // A2; decision 9
        }
        bool privileged = false;
        if ((type & physical) != 0) {
            if ((type & ~top_down) != (reserve | physical) || protect != 4) {
                return refuse(87); // A3
            }
            privileged = true;
        }
        if ((type & large) != 0 && ((type & commit) == 0 || (type & watch) != 0)) {
            return refuse(87); // A4; what is well formed depends on the system, and is not drawn
        }
        if (!is_valid(protect) || a >= top || size == 0 || size > top - a) {
            return refuse(87); // A5, A6
        }
        if (a == 0 && (type == reset || type == undo)) {
            return refuse(87); // A17
        }
        const bool write_copy = (protect & 0x88) != 0;
        const bool resets = type == reset || type == undo;
        if (!resets && (a == 0 || (type & reserve) != 0)) {
            if (write_copy) {
                return refuse(87); // A7
            }
            if (privileged) {
                return refuse(
                    1314); // decision 7; the generator asks for large pages where there are none
            }
            pending_ = {up(size), (type & commit) != 0, protect, (type & watch) != 0}; // A9
            if (a == 0) {
                outcome o;
                o.anywhere = true;
                return o;
            }
            const std::uint64_t base = a / granule * granule;
            std::uint64_t end = up(a + size);
            if (is(plant::size_rounds_to_64k)) {
                end = up_to_granule(end);
            }
            if (overlaps(base, end)) {
                return refuse(487); // A8, S4
            }
            add(base, end, (type & commit) != 0);
            return {0, base};
        }
        const std::uint64_t begin = down(a);
        const std::uint64_t end = up(a + size);
        reservation* r = find(begin);
        if (r == nullptr || (end > r->end && !is(plant::commit_spans_reservations))) {
            return refuse(487); // A11, A16
        }
        if (resets) {
            if (type == undo) {
                outcome o{0, begin};
                o.may_fail_as = 487; // A18: something was dropped
                pending_undo_ = {begin, end};
                return o;
            }
            for (std::uint64_t p = begin; p < end; p += page) {
                page_record& it = at(*r, p);
                if (it.protect == 0 && is(plant::reset_needs_commit)) {
                    return refuse(487);
                }
                it.undefined = it.protect != 0 && it.shadow != 0;
            }
            return {0, begin};
        }
        if (write_copy) {
            return refuse(87); // A12
        }
        for (std::uint64_t p = begin; p < end && p < r->end; p += page) {
            page_record& it = at(*r, p);
            if (it.protect == 0) {
                ++r->committed;
            } else if (is(plant::recommit_clears)) {
                drop(it);
            }
            if (it.protect == 0 || !is(plant::recommit_keeps_protection)) {
                it.protect = for_page(*r, protect); // A13
            }
        }
        return {0, begin};
    }
    // Where the reservation of the last `anywhere` outcome went. Empty, or what is wrong with it.
    std::string placed(std::uint64_t base) {
        if (base % granule != 0 || base == 0 || base + pending_.size > top) {
            return "placed badly";
        }
        if (overlaps(base, base + pending_.size)) {
            return "placed over another reservation";
        }
        add(base, base + pending_.size, pending_.commit);
        return {};
    }
    // What became of an outcome with may_fail_as.
    void decided(bool done) {
        if (done) {
            reservation* r = find(pending_undo_.first);
            for (std::uint64_t p = pending_undo_.first; p < pending_undo_.second; p += page) {
                at(*r, p).undefined = false; // nothing was dropped
            }
        }
    }

    outcome free(std::uint64_t a, std::uint64_t size, std::uint32_t type) {
        if ((type != 0x4000 && type != 0x8000) || (type == 0x8000 && size != 0) || a >= top ||
            size > top - a) {
            return refuse(87); // F1 to F3
        }
        std::uint64_t begin = down(a);
        reservation* r = find(begin);
        if (r == nullptr) {
            return refuse(is(plant::free_of_nothing_is_87) ? 87 : 487); // F4
        }
        std::uint64_t end = up(a + size);
        if (size != 0 && end > r->end) {
            return refuse(is(plant::overrun_is_487) ? 487 : 87); // F5
        }
        if (size == 0) {
            if (begin != r->base && !(is(plant::release_at_any_page) && type == 0x8000)) {
                return refuse(487); // F6
            }
            begin = r->base;
            end = r->end;
        }
        for (std::uint64_t p = begin; p < end; p += page) { // F7, F8
            page_record& it = at(*r, p);
            if (it.shadow != 0) {
                once_written_.insert(p);
            }
            if (it.protect != 0) {
                --r->committed;
            }
            if (!is(plant::decommit_keeps_contents) || type == 0x8000) {
                drop(it);
            }
            it.protect = 0;
            it.written = false; // WW7
        }
        if (type == 0x8000) {
            remove(r);
        }
        return {};
    }

    outcome protect(std::uint64_t a, std::uint64_t size, std::uint32_t value, bool has_old) {
        if (!is_valid(value)) {
            return refuse(87); // V1
        }
        if (!has_old) {
            return refuse(998); // V2
        }
        if (a >= top || size == 0 || size > top - a) {
            return refuse(87); // V3
        }
        const std::uint64_t begin = down(a);
        const std::uint64_t end = up(a + size);
        reservation* r = find(begin);
        if (r == nullptr || end > r->end) {
            return refuse(487); // V4
        }
        if ((value & 0x88) != 0) {
            return refuse(87); // V5
        }
        for (std::uint64_t p = begin; p < end; p += page) {
            if (at(*r, p).protect == 0 && !is(plant::protect_skips_uncommitted)) {
                return refuse(487); // V6
            }
        }
        const std::uint32_t old =
            at(*r, is(plant::old_of_the_last_page) ? end - page : begin).protect; // V7
        for (std::uint64_t p = begin; p < end; p += page) {
            page_record& it = at(*r, p);
            if (it.protect != 0) {
                if (it.protect == 1 && value != 1 && is(plant::noaccess_loses_contents)) {
                    drop(it);
                }
                it.protect = for_page(*r, value);
            }
        }
        if (is(plant::protect_changes_allocation)) {
            r->protect = value;
        }
        return {0, old};
    }

    // Free regions end at the next reservation of the model or at `limit`.
    region query(std::uint64_t a, std::uint64_t limit) {
        region q;
        q.base = down(a);
        const reservation* r = find(q.base);
        if (r == nullptr) {
            std::uint64_t end = limit;
            for (const auto& other : all_) {
                if (other->base > q.base) {
                    end = std::min(end, other->base);
                }
            }
            q.size = end - q.base;
            q.state = 0x10000;
            q.protect = 1;
            return q;
        }
        const std::uint16_t protect = at(*r, q.base).protect;
        if (is(plant::query_from_region_start)) {
            while (q.base > r->base && at(*r, q.base - page).protect == protect) {
                q.base -= page;
            }
        }
        q.allocation_base = r->base;
        q.allocation_protect = r->protect;
        q.state = protect != 0 ? 0x1000 : 0x2000;
        q.protect = protect;
        std::uint64_t end = q.base;
        for (;;) { // Q7
            while (end < r->end && at(*r, end).protect == protect) {
                end += page;
            }
            const reservation* next =
                end == r->end && is(plant::neighbours_merge) ? find(end) : nullptr;
            if (next == nullptr || at(*next, end).protect != protect) {
                break;
            }
            r = next;
        }
        q.size = end - q.base;
        return q;
    }

    enum class access_end : unsigned char { ok, violation, guard };
    // One byte. 'R', 'W', 'X'.
    access_end access(char op, std::uint64_t a, unsigned value) {
        reservation* r = find(down(a));
        if (r == nullptr) {
            return access_end::violation;
        }
        page_record& it = at(*r, down(a));
        if (it.protect == 0) {
            const bool stale = is(plant::guard_on_reserved) && (r->protect & 0x100) != 0;
            return stale ? access_end::guard : access_end::violation; // G3
        }
        if ((it.protect & 0x100) != 0) { // G2
            if (!is(plant::guard_stays)) {
                it.protect = static_cast<std::uint16_t>(it.protect & ~0x100);
            }
            return access_end::guard;
        }
        const unsigned allowed = kernel_access(it.protect);
        if ((allowed & (op == 'R'   ? 1u
                        : op == 'W' ? 2u
                                    : 4u)) == 0 ||
            (op == 'R' && is(plant::execute_is_not_readable) && it.protect == 0x10)) {
            return access_end::violation; // G1
        }
        if (op == 'W') {
            contents(it)[a % page] = static_cast<unsigned char>(value);
            it.written = true;
        }
        return access_end::ok;
    }
    // Does what is read at `a` fit? Reading decides what MEM_RESET left open.
    bool may_read(std::uint64_t a, unsigned value) {
        const page_record& it = at(*find(down(a)), down(a));
        const unsigned byte = it.shadow == 0 ? 0 : (*shadows_[it.shadow])[a % page];
        return value == byte || (it.undefined && value == 0);
    }
    // The same for a page in full. After a write to a page that was reset the page stays as it is.
    bool may_hold(std::uint64_t a, const unsigned char* bytes) {
        page_record& it = at(*find(a), a);
        if (it.shadow == 0) {
            return std::all_of(bytes, bytes + page, [](unsigned char b) { return b == 0; });
        }
        if (std::equal(bytes, bytes + page, shadows_[it.shadow]->begin())) {
            return true;
        }
        return it.undefined &&
               std::all_of(bytes, bytes + page, [](unsigned char b) { return b == 0; });
    }
    // A byte was written to a page that was reset: of the rest, all is there or nothing.
    bool settle_reset(std::uint64_t a, const unsigned char* bytes) {
        page_record& it = at(*find(down(a)), down(a));
        it.undefined = false;
        auto& expected = contents(it);
        if (std::equal(bytes, bytes + page, expected.begin())) {
            return true;
        }
        const unsigned char value = expected[a % page];
        expected.fill(0);
        expected[a % page] = value;
        return std::equal(bytes, bytes + page, expected.begin());
    }
    // A whole page is written from a pattern. It must be writable.
    void fill(std::uint64_t a, const unsigned char* bytes) {
        page_record& it = at(*find(a), a);
        std::copy(bytes, bytes + page, contents(it).begin());
        it.undefined = false;
        it.written = true;
    }
    bool is_undefined(std::uint64_t a) {
        const reservation* r = find(down(a));
        return r != nullptr && at(*r, down(a)).undefined;
    }
    // Could this byte be called and return: holds ret (0xc3) for certain?
    bool holds_return(std::uint64_t a) {
        const reservation* r = find(down(a));
        if (r == nullptr) {
            return false;
        }
        const page_record& it = at(*r, down(a));
        return it.shadow != 0 && !it.undefined && (*shadows_[it.shadow])[a % page] == 0xc3;
    }
    // Pages of [begin, end) that held something in a former life and are readable now: whether they
    // are zero (S2) is looked at once. f(page)
    template <class F>
    void for_each_former(std::uint64_t begin, std::uint64_t end, F f) {
        if (once_written_.empty()) {
            return;
        }
        const auto look = [&](std::uint64_t p) {
            const page_record& it = at(*find(p), p);
            if ((kernel_access(it.protect) & 1) != 0) {
                once_written_.erase(p);
                f(p);
            }
        };
        if ((end - begin) / page <= once_written_.size()) {
            for (std::uint64_t p = begin; p < end; p += page) {
                if (once_written_.count(p) != 0) {
                    look(p);
                }
            }
            return;
        }
        std::vector<std::uint64_t> inside;
        for (const std::uint64_t p : once_written_) {
            if (p >= begin && p < end) {
                inside.push_back(p);
            }
        }
        for (const std::uint64_t p : inside) {
            look(p);
        }
    }

    // GetWriteWatch over [a, a + size): WW1 to WW3. Pages go to `out`, at most `room`.
    outcome written_pages(std::uint32_t flags, std::uint64_t a, std::uint64_t size,
                          std::uint64_t room, std::vector<std::uint64_t>& out) {
        if (flags > 1 || size == 0 || room == 0) {
            return refuse(87); // WW1
        }
        reservation* r = watched_range(a, size);
        if (r == nullptr) {
            return refuse(87); // WW2
        }
        for (std::uint64_t p = down(a); p < up(a + size) && out.size() < room; p += page) {
            if (at(*r, p).written) {
                out.push_back(p);
                at(*r, p).written = flags == 0; // WW3
            }
        }
        return {};
    }
    outcome reset_written(std::uint64_t a, std::uint64_t size) { // WW9
        reservation* r = size == 0 ? nullptr : watched_range(a, size);
        if (r == nullptr) {
            return refuse(87);
        }
        for (std::uint64_t p = down(a); p < up(a + size); p += page) {
            at(*r, p).written = false;
        }
        return {};
    }

    // What the kernel must allow at this page: 1 read, 2 write, 4 execute.
    unsigned kernel_access(std::uint32_t protect) const {
        if ((protect & 0x100) != 0) {
            return 0;
        }
        switch (protect & 0xff) {
        case 2: return 1;
        case 4: return 3;
        case 0x10:
        case 0x20: return 5;
        case 0x40: return is(plant::writable_is_not_executable) ? 3 : 7;
        default: return 0;
        }
    }
    unsigned kernel_access_at(std::uint64_t a) {
        const reservation* r = find(down(a));
        return r == nullptr ? 0 : kernel_access(at(*r, down(a)).protect);
    }

    struct totals {
        std::uint64_t reserved = 0, committed = 0, writable = 0; // pages
    };
    totals count() const {
        totals t;
        for (const auto& r : all_) {
            t.reserved += r->pages.size();
            for (const page_record& it : r->pages) {
                t.committed += it.protect != 0 && !is(plant::commit_is_not_charged) ? 1u : 0u;
                t.writable += (kernel_access(it.protect) & 2) != 0 ? 1u : 0u;
            }
        }
        return t;
    }
    const std::vector<std::unique_ptr<reservation>>& reservations() const { return all_; }

    reservation* find(std::uint64_t a) const {
        if (a - begin_ < end_ - begin_) {
            reservation* r = granules_[(a - begin_) / granule];
            return r != nullptr && a < r->end ? r : nullptr;
        }
        for (const auto& r : all_) {
            if (a >= r->base && a < r->end) {
                return r.get();
            }
        }
        return nullptr;
    }
    static page_record& at(reservation& r, std::uint64_t a) { return r.pages[(a - r.base) / page]; }
    static const page_record& at(const reservation& r, std::uint64_t a) {
        return r.pages[(a - r.base) / page];
    }
    // Free, but in the last granule of a reservation (S4), where nobody else is: behind a large or a
    // watched one, which lies in no arena, anybody may be.
    static constexpr std::uint64_t most_in_arena = 0x8000000;
    bool has_tail(const reservation& r) const {
        return (r.end - r.base <= most_in_arena && !r.watched) || r.base - begin_ < end_ - begin_;
    }
    const reservation* tail_of(std::uint64_t a) const {
        for (const auto& r : all_) {
            if (a >= r->end && a < up_to_granule(r->end) && has_tail(*r)) {
                return r.get();
            }
        }
        return nullptr;
    }

    static std::uint64_t down(std::uint64_t a) { return a & ~(page - 1); }
    static std::uint64_t up(std::uint64_t a) { return (a + page - 1) & ~(page - 1); }
    static std::uint64_t up_to_granule(std::uint64_t a) {
        return (a + granule - 1) & ~(granule - 1);
    }

private:
    using bytes_of_page = std::array<unsigned char, page>;

    static outcome refuse(unsigned error) { return {error}; }
    bool is(plant p) const { return mistake_ == p; }

    static bool is_valid(std::uint32_t v) { // P1 to P3
        const std::uint32_t base = v & 0xff;
        std::uint32_t rest = v & ~0xffu;
        if (base == 0 || (base & (base - 1)) != 0) {
            return false;
        }
        if (base >= 0x10) {
            rest &= ~0x40000000u;
        }
        return rest == 0 || ((rest == 0x100 || rest == 0x200 || rest == 0x400) && base != 1);
    }
    bool overlaps(std::uint64_t begin, std::uint64_t end) const {
        for (const auto& r : all_) {
            if (begin < up_to_granule(r->end) && r->base < up_to_granule(end)) {
                return true;
            }
        }
        return false;
    }
    reservation* watched_range(std::uint64_t a, std::uint64_t size) {
        if (a >= top || size > top - a) {
            return nullptr;
        }
        reservation* r = find(down(a));
        return r != nullptr && r->watched && up(a + size) <= r->end ? r : nullptr;
    }
    std::uint16_t for_page(const reservation& r, std::uint32_t value) const { // P6
        return static_cast<std::uint16_t>((value & 0x1ff) | (r.protect & 0x600));
    }
    void add(std::uint64_t base, std::uint64_t end, bool commit) {
        auto r = std::make_unique<reservation>();
        r->base = base;
        r->end = end;
        r->protect = pending_.protect;
        r->watched = pending_.watched;
        r->pages.resize((end - base) / page);
        if (commit) {
            for (page_record& it : r->pages) {
                it.protect = for_page(*r, pending_.protect);
            }
            r->committed = r->pages.size();
        }
        enter(*r, r.get());
        all_.push_back(std::move(r));
    }
    void remove(reservation* r) {
        enter(*r, nullptr);
        const auto it = std::find_if(all_.begin(), all_.end(),
                                     [r](const auto& other) { return other.get() == r; });
        std::swap(*it, all_.back());
        all_.pop_back();
    }
    void enter(const reservation& r, reservation* as) {
        if (r.base - begin_ < end_ - begin_) {
            for (std::uint64_t a = r.base; a < r.end; a += granule) {
                granules_[(a - begin_) / granule] = as;
            }
        }
    }
    bytes_of_page& contents(page_record& it) {
        if (it.shadow == 0) {
            if (spare_.empty()) {
                spare_.push_back(static_cast<std::uint32_t>(shadows_.size()));
                shadows_.push_back(std::make_unique<bytes_of_page>());
            }
            it.shadow = spare_.back();
            spare_.pop_back();
            shadows_[it.shadow]->fill(0);
        }
        return *shadows_[it.shadow];
    }
    void drop(page_record& it) {
        if (it.shadow != 0) {
            spare_.push_back(it.shadow);
            it.shadow = 0;
        }
        it.undefined = false;
    }

    plant mistake_;
    bool watches_;
    std::uint64_t begin_, end_;
    std::vector<reservation*> granules_; // of the window
    std::vector<std::unique_ptr<reservation>> all_;
    std::vector<std::unique_ptr<bytes_of_page>> shadows_;
    std::vector<std::uint32_t> spare_;
    std::unordered_set<std::uint64_t> once_written_; // pages that held something and were given up
    struct {
        std::uint64_t size = 0;
        bool commit = false;
        std::uint32_t protect = 0;
        bool watched = false;
    } pending_;
    std::pair<std::uint64_t, std::uint64_t> pending_undo_;
};

} // namespace memreeve::differential
