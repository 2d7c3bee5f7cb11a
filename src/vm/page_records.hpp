// SPDX-License-Identifier: MIT
// Records for granules that one word cannot describe: a request has claimed part of the pages, or they
// are of more than two kinds. Ten lie in four units of the map's node memory. The memory stays what it is
// for ever, so that a reader or a claimer who is late finds a record, though perhaps of another
// granule; the generation tells them apart.
#pragma once

#include "vm/free_stacks.hpp"
#include "vm/map_word.hpp"
#include "vm/record_array.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

struct page_record {
    std::atomic<std::uint64_t> meta{0};  // claims:16 0:16 generation:32
    std::atomic<std::uint64_t> codes{0}; // 16 x 4 bits; while free the next free record
    std::atomic<std::uint64_t> home{0}; // place:32 inherited:16 low bits of the granule:16; free: 0
};

class page_records {
public:
    static constexpr unsigned unit_shift = 6;
    static constexpr unsigned units_at_once = 4;
    static constexpr unsigned per_take = (units_at_once << unit_shift) / sizeof(page_record);
    // The first of the units << 4 | slot. 0 is none.
    using id = std::uint32_t;

    constexpr page_records() noexcept = default;
    void open(record_array* units) noexcept { units_ = units; }

    page_record& at(id which) const noexcept {
        return *reinterpret_cast<page_record*>(units_->base() +
                                               (address{which >> 4} << unit_shift) +
                                               (which & 15) * sizeof(page_record));
    }
    // A record that nobody else has, with a new generation; 0 when memory has run out. Who ends part
    // of a claim cannot be refused: for those some records are kept back, since before the first
    // granule of two kinds came to be.
    enum class purpose : unsigned char { claiming, publishing };
    id take(purpose what) noexcept;
    void give(id which) noexcept;

    std::uint32_t made() const noexcept { return made_.load(std::memory_order_acquire); }
    // f(id) for every free record until it says false. Quiescent callers only.
    template <class F>
    void for_each_free(F&& f) const noexcept {
        const auto next = [this](id which) { return below(which); };
        free_.for_each(next, f);
        kept_.for_each(next, f);
    }

private:
    id below(id which) const noexcept {
        return static_cast<id>(at(which).codes.load(std::memory_order_relaxed));
    }
    id pop(free_stacks& from) noexcept;
    void push(free_stacks& to, id which) noexcept;
    id make(free_stacks& rest) noexcept;

    record_array* units_ = nullptr;
    free_stacks free_{};
    free_stacks kept_{};                 // for publishing
    std::atomic<std::uint32_t> lent_{0}; // of those kept
    std::atomic<std::uint32_t> made_{0};
    std::atomic<bool> keeps_{false};
};

static_assert(sizeof(page_record) == 24 && page_records::per_take == 10);

namespace map_detail {

constexpr std::uint64_t record_word(page_records::id which, std::uint32_t generation) noexcept {
    return 3 | std::uint64_t{which & 15} << 2 | std::uint64_t{which >> 4} << place_shift |
           std::uint64_t{generation} << 32;
}
constexpr page_records::id record_of(std::uint64_t w) noexcept {
    return static_cast<page_records::id>(w >> place_shift & 0xffffff) << 4 |
           static_cast<page_records::id>(w >> 2 & 15);
}
constexpr std::uint32_t generation_of(std::uint64_t w_or_meta) noexcept {
    return static_cast<std::uint32_t>(w_or_meta >> 32);
}
constexpr std::uint64_t meta_word(std::uint32_t claims, std::uint32_t generation) noexcept {
    return claims | std::uint64_t{generation} << 32;
}
constexpr std::uint32_t claims_of(std::uint64_t meta) noexcept {
    return static_cast<std::uint32_t>(meta) & 0xffff;
}
constexpr std::uint64_t home_word(const granule_pages& g, address granule) noexcept {
    return g.place | std::uint64_t{g.inherited} << 32 | (granule >> granule_shift) << 48;
}
constexpr std::uint32_t place_of_home(std::uint64_t home) noexcept {
    return static_cast<std::uint32_t>(home);
}
constexpr std::uint32_t inherited_of(std::uint64_t home) noexcept {
    return static_cast<std::uint32_t>(home >> 32) & 0xffff;
}

} // namespace map_detail

} // namespace memreeve::vm
