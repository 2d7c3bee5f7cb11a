// SPDX-License-Identifier: MIT
// The naive twin: Win32 virtual memory as one record per page, written from the rules alone and
// sharing nothing with src/. Slow and obvious. Reservations placed by the implementation are told
// to it afterwards (`placed`); everything else it works out itself.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

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
    count,
};

class page_model {
public:
    static constexpr std::uint64_t page = 0x1000;
    static constexpr std::uint64_t granule = 0x10000;
    static constexpr std::uint64_t top = 0x7fffffff0000;

    struct outcome {
        unsigned error = 0;      // Win32
        std::uint64_t value = 0; // address or old protection
        bool anywhere = false;   // success: the implementation chooses, tell placed()
        std::uint64_t size = 0;  // then: bytes wanted
        bool operator==(const outcome&) const = default;
    };
    struct region {
        std::uint64_t base = 0, size = 0, allocation_base = 0;
        std::uint32_t state = 0, protect = 0, allocation_protect = 0;
    };

    explicit page_model(plant mistake) : mistake_(mistake) {}

    outcome alloc(std::uint64_t a, std::uint64_t size, std::uint32_t type, std::uint32_t protect) {
        constexpr std::uint32_t commit = 0x1000, reserve = 0x2000, reset = 0x80000,
                                top_down = 0x100000;
        if (a != 0 && a < granule) {
            return refuse(87); // A1
        }
        if ((type & ~(commit | reserve | reset | top_down)) != 0 ||
            (type & (commit | reserve | reset)) == 0 || ((type & reset) != 0 && type != reset)) {
            return refuse(87); // A2
        }
        if (!is_valid(protect) || a >= top || size == 0 || size > top - a) {
            return refuse(87); // A5, A6
        }
        if (a == 0 && type == reset) {
            return refuse(87); // A17
        }
        const bool write_copy = (protect & 0x88) != 0;
        if (a == 0 || (type & reserve) != 0) {
            if (write_copy) {
                return refuse(87); // A7
            }
            if (a == 0) {
                outcome o;
                o.anywhere = true;
                o.size = up(size);
                pending_ = {o.size, (type & commit) != 0, protect};
                return o;
            }
            const std::uint64_t base = a / granule * granule;
            std::uint64_t end = up(a + size);
            if (is(plant::size_rounds_to_64k)) {
                end = (end + granule - 1) / granule * granule;
            }
            for (std::uint64_t p = base; p < up_to_granule(end); p += page) {
                if (in_granule_of_a_reservation(p)) {
                    return refuse(487); // A8, S4
                }
            }
            add(base, end, (type & commit) != 0, protect);
            return {0, base, false, 0};
        }
        const std::uint64_t begin = down(a);
        const std::uint64_t end = up(a + size);
        if (!in_one(begin, end)) {
            return refuse(487); // A11, A16
        }
        if (type == reset) {
            for (std::uint64_t p = begin; p < end; p += page) {
                if (pages_.at(p).protect) {
                    undefined_[p] = true;
                }
            }
            return {0, begin, false, 0};
        }
        if (write_copy) {
            return refuse(87); // A12
        }
        for (std::uint64_t p = begin; p < end; p += page) {
            auto& it = pages_.at(p);
            if (it.protect && is(plant::recommit_keeps_protection)) {
                continue;
            }
            it.protect = for_page(p, protect); // A13
        }
        return {0, begin, false, 0};
    }
    // Where the reservation of the last `anywhere` outcome went. Empty, or what is wrong with it.
    std::string placed(std::uint64_t base) {
        if (base % granule != 0 || base == 0 || base + pending_.size > top) {
            return "placed badly";
        }
        for (std::uint64_t p = base; p < up_to_granule(base + pending_.size); p += page) {
            if (in_granule_of_a_reservation(p)) {
                return "placed over another reservation";
            }
        }
        add(base, base + pending_.size, pending_.commit, pending_.protect);
        return {};
    }

    outcome free(std::uint64_t a, std::uint64_t size, std::uint32_t type) {
        if ((type != 0x4000 && type != 0x8000) || (type == 0x8000 && size != 0) || a >= top ||
            size > top - a) {
            return refuse(87); // F1 to F3
        }
        std::uint64_t begin = down(a);
        const auto it = pages_.find(begin);
        if (it == pages_.end()) {
            return refuse(is(plant::free_of_nothing_is_87) ? 87 : 487); // F4
        }
        const reservation r = reservations_.at(it->second.owner);
        std::uint64_t end = up(a + size);
        if (size != 0 && end > r.end) {
            return refuse(is(plant::overrun_is_487) ? 487 : 87); // F5
        }
        if (size == 0) {
            if (begin != r.base && !(is(plant::release_at_any_page) && type == 0x8000)) {
                return refuse(487); // F6
            }
            begin = r.base;
            end = r.end;
        }
        for (std::uint64_t p = begin; p < end; p += page) {
            if (type == 0x8000) {
                pages_.erase(p);
            } else {
                pages_.at(p).protect.reset();
            }
            undefined_.erase(p);
            if (!is(plant::decommit_keeps_contents)) {
                contents_.erase(contents_.lower_bound(p), contents_.lower_bound(p + page));
            }
        }
        if (type == 0x8000) {
            contents_.erase(contents_.lower_bound(begin), contents_.lower_bound(end));
            reservations_.erase(r.base);
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
        if (!in_one(begin, end)) {
            return refuse(487); // V4
        }
        if ((value & 0x88) != 0) {
            return refuse(87); // V5
        }
        for (std::uint64_t p = begin; p < end; p += page) {
            if (!pages_.at(p).protect && !is(plant::protect_skips_uncommitted)) {
                return refuse(487); // V6
            }
        }
        const auto old = pages_.at(is(plant::old_of_the_last_page) ? end - page : begin).protect;
        for (std::uint64_t p = begin; p < end; p += page) {
            if (pages_.at(p).protect) {
                pages_.at(p).protect = for_page(p, value);
            }
        }
        if (is(plant::protect_changes_allocation)) {
            reservations_.at(pages_.at(begin).owner).protect = value;
        }
        return {0, old.value_or(0), false, 0};
    }

    // Free regions end at the next reservation of the model or at `limit`.
    region query(std::uint64_t a, std::uint64_t limit) const {
        region r;
        r.base = down(a);
        const auto it = pages_.find(r.base);
        if (it == pages_.end()) {
            const auto next = pages_.lower_bound(r.base);
            const std::uint64_t end =
                next == pages_.end() || next->first > limit ? limit : next->first;
            r.size = end - r.base;
            r.state = 0x10000;
            r.protect = 1;
            return r;
        }
        const reservation& v = reservations_.at(it->second.owner);
        if (is(plant::query_from_region_start)) {
            for (auto p = pages_.find(r.base - page);
                 p != pages_.end() && same(p->second, it->second); p = pages_.find(r.base - page)) {
                r.base -= page;
            }
        }
        std::uint64_t end = down(a);
        for (auto p = it; p != pages_.end() && p->first == end && same(p->second, it->second);
             ++p) {
            end += page;
        }
        r.size = end - r.base;
        r.allocation_base = v.base;
        r.allocation_protect = v.protect;
        r.state = it->second.protect ? 0x1000 : 0x2000;
        r.protect = it->second.protect.value_or(0);
        return r;
    }

    // As replay::access writes it; "v?" when any value will do.
    std::string access(char op, std::uint64_t a, unsigned value) {
        const char* kind = op == 'R' ? "0" : op == 'W' ? "1" : "8";
        const auto it = pages_.find(down(a));
        if (it == pages_.end()) {
            return std::string("fAV,") + kind;
        }
        auto& state = it->second.protect;
        if (!state) {
            const bool stale = is(plant::guard_on_reserved) &&
                               (reservations_.at(it->second.owner).protect & 0x100) != 0;
            return std::string(stale ? "fGP," : "fAV,") + kind; // G3
        }
        if ((*state & 0x100) != 0) { // G2
            if (!is(plant::guard_stays)) {
                state = *state & ~0x100u;
            }
            return std::string("fGP,") + kind;
        }
        const std::uint32_t base = *state & 0xff; // G1
        const bool reads = base != 1 && !(is(plant::execute_is_not_readable) && base == 0x10);
        const bool writes = base == 4 || base == 0x40;
        const bool executes = base >= 0x10;
        if (op == 'R' ? !reads : op == 'W' ? !writes : !executes) {
            return std::string("fAV,") + kind;
        }
        if (op == 'W') {
            contents_[a] = static_cast<unsigned char>(value);
            return "ok";
        }
        if (op == 'X') {
            return "ok";
        }
        const auto byte = contents_.find(a);
        if (undefined_.count(down(a)) != 0) {
            return "v?";
        }
        char text[8];
        std::snprintf(text, sizeof text, "v%02x", byte == contents_.end() ? 0u : byte->second);
        return text;
    }
    // Could this byte be called and return: holds ret (0xc3) for certain?
    bool holds_return(std::uint64_t a) const {
        const auto byte = contents_.find(a);
        return byte != contents_.end() && byte->second == 0xc3 && undefined_.count(down(a)) == 0;
    }

    // What the kernel must allow at this page: 1 read, 2 write, 4 execute.
    unsigned kernel_access(std::uint64_t a) const {
        const auto it = pages_.find(down(a));
        if (it == pages_.end() || !it->second.protect || (*it->second.protect & 0x100) != 0) {
            return 0;
        }
        switch (*it->second.protect & 0xff) {
        case 2: return 1;
        case 4: return 3;
        case 0x10:
        case 0x20: return 5;
        case 0x40: return 7;
        default: return 0;
        }
    }
    bool is_free(std::uint64_t a) const { return pages_.count(down(a)) == 0; }

    struct totals {
        std::uint64_t reserved = 0, committed = 0, writable = 0; // pages
        bool operator==(const totals&) const = default;
    };
    totals count() const {
        totals t;
        for (const auto& [address, state] : pages_) {
            ++t.reserved;
            t.committed += state.protect ? 1u : 0u;
            t.writable += (kernel_access(address) & 2) != 0 ? 1u : 0u;
        }
        return t;
    }
    struct reservation {
        std::uint64_t base = 0, end = 0;
        std::uint32_t protect = 0;
    };
    const std::map<std::uint64_t, reservation>& reservations() const { return reservations_; }

private:
    struct page_state {
        std::uint64_t owner = 0;              // base of the reservation
        std::optional<std::uint32_t> protect; // empty: reserved
    };

    static std::uint64_t down(std::uint64_t a) { return a & ~(page - 1); }
    static std::uint64_t up(std::uint64_t a) { return (a + page - 1) & ~(page - 1); }
    static std::uint64_t up_to_granule(std::uint64_t a) {
        return (a + granule - 1) & ~(granule - 1);
    }
    static outcome refuse(unsigned error) { return {error, 0, false, 0}; }
    bool is(plant p) const { return mistake_ == p; }

    static bool is_valid(std::uint32_t v) { // P1 to P3
        const std::uint32_t base = v & 0xff;
        const std::uint32_t rest = v & ~0xffu;
        if (base == 0 || (base & (base - 1)) != 0) {
            return false;
        }
        return rest == 0 || ((rest == 0x100 || rest == 0x200 || rest == 0x400) && base != 1);
    }
    bool same(const page_state& a, const page_state& b) const {
        return a.protect == b.protect && (a.owner == b.owner || is(plant::neighbours_merge));
    }
    bool in_one(std::uint64_t begin, std::uint64_t end) const {
        const auto first = pages_.find(begin);
        if (first == pages_.end()) {
            return false;
        }
        for (std::uint64_t p = begin; p < end; p += page) {
            const auto it = pages_.find(p);
            if (it == pages_.end() || (it->second.owner != first->second.owner &&
                                       !is(plant::commit_spans_reservations))) {
                return false;
            }
        }
        return true;
    }
    bool in_granule_of_a_reservation(std::uint64_t p) const {
        const auto it = pages_.lower_bound(p / granule * granule);
        return it != pages_.end() && it->first < p / granule * granule + granule;
    }
    std::uint32_t for_page(std::uint64_t p, std::uint32_t value) const { // P6
        const std::uint32_t cache = reservations_.at(pages_.at(p).owner).protect & 0x600;
        return (value & ~0x600u) | cache;
    }
    void add(std::uint64_t base, std::uint64_t end, bool commit, std::uint32_t value) {
        reservations_[base] = {base, end, value};
        for (std::uint64_t p = base; p < end; p += page) {
            pages_[p] = {base, commit ? std::optional<std::uint32_t>(value) : std::nullopt};
        }
    }

    plant mistake_;
    std::map<std::uint64_t, page_state> pages_;
    std::map<std::uint64_t, reservation> reservations_;
    std::map<std::uint64_t, unsigned> contents_; // bytes written
    std::map<std::uint64_t, bool> undefined_;    // pages after MEM_RESET, until decommitted
    struct {
        std::uint64_t size = 0;
        bool commit = false;
        std::uint32_t protect = 0;
    } pending_;
};

} // namespace memreeve::differential
