// SPDX-License-Identifier: MIT
// Areas of placeholders (rules PH). The region map has one reservation for a whole area; what the
// rules call a VAD is a piece of it: a placeholder, an allocation that replaced one, or nothing any
// more ("vacant"). Pieces begin and end at pages.
//
// The pieces of an area lie in one immutable table, ascending and without gaps, named by the
// reservation's `tag` (version << 32 | number of the table). A change builds another table and swaps
// the tag; readers look at the tag again afterwards and never wait. Tables are used again, so that a
// reader may read a torn one, but then the tag has moved on. Who changes pieces has claimed their
// pages in the region map, so that two changes of the same pages never meet; changes of others in the
// same area only repeat the swap.
#pragma once

#include "base/units.hpp"
#include "vm/record_array.hpp"
#include "vm/reservation.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::vm {

enum class piece_kind : unsigned char { placeholder, allocation, vacant };

struct piece {
    range where{};
    piece_kind kind = piece_kind::vacant;
    std::uint32_t protect = 0; // AllocationProtect

    bool operator==(const piece&) const = default;
};

class piece_tables {
public:
    constexpr piece_tables() noexcept = default;

    static constexpr std::uint32_t most_pieces = 255; // of one area
    static constexpr byte_count table_size = page_size;
    // 16,384 tables: one for each area and one more for each change under way.
    static constexpr byte_count space_size = byte_count{64} << 20;

    // `space`: space_size bytes reserved and not accessible, which live as long as the tables.
    void open(address space, record_array::grow_function grow) noexcept;
    bool is_open() const noexcept { return is_open_.load(std::memory_order_acquire) == ready; }
    // The one caller that gets true may open(), and must then open or give up.
    bool may_open() noexcept;
    void give_up() noexcept { is_open_.store(closed, std::memory_order_release); }
    void close() noexcept { is_open_.store(closed, std::memory_order_release); }

    // Number of a table nobody uses; 0 when there is none.
    std::uint32_t take() noexcept;
    void give(std::uint32_t table) noexcept;

    // A building reservation becomes one placeholder, described by `table`.
    void begin(reservation& area, std::uint32_t table) noexcept;
    // The area is gone from the map.
    void end(reservation& area) noexcept;

    // The piece of `at`. False: the area was released meanwhile. `life` as find() gave it.
    bool find(const reservation& area, std::uint32_t life, address at, piece& out) const noexcept;
    // Makes `now.where` one piece, whatever pieces it had. False: there would be too many. `table` is
    // used up when it succeeds; otherwise it stays the caller's.
    bool set(reservation& area, const piece& now, std::uint32_t table) noexcept;

private:
    using word = std::atomic<std::uint64_t>;
    enum : unsigned char { closed, opening, ready };

    word* words(std::uint32_t table) const noexcept {
        return static_cast<word*>(tables_.at(table));
    }

    record_array tables_{};
    std::atomic<std::uint64_t> free_{0}; // tag << 32 | number: a stack through the first word
    std::atomic<unsigned char> is_open_{closed};
};

} // namespace memreeve::vm
