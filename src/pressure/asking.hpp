// SPDX-License-Identifier: MIT
// When to ask a runtime to collect. Pure: no clock, no system; used by one thread.
//
// The first time at the watermark `first_permille`, then whenever a third of the room that the last
// collection left has been used up. Where collections leave little room (a program that really holds
// so much) that converges: a few times, then no more until memory was given back and taken again.
// Where they leave none (the limit was lowered below what is held) it goes on until it fits. Or only
// that: at no watermark (when::lowered), from a change of the limit until what is held fits.
//
// Between two times the runtime has `rest` times as long for itself as the last collection took. The
// factor doubles with every time that brought nothing and goes back where one brought room, so that
// asking in vain costs less than `1 / most_rest` of the time; from then on the pause itself doubles
// too, up to `longest_vain_pause_ns`: what a runtime does after it was asked cannot always be timed.
#pragma once

#include "base/units.hpp"

#include <cstdint>

namespace memreeve::pressure {

class asking {
public:
    enum class when : unsigned char { at_watermarks, lowered };
    static constexpr unsigned first_permille = 600;
    static constexpr unsigned least_rest = 1;
    static constexpr unsigned most_rest = 64;
    static constexpr unsigned much =
        16; // the part of top that makes it worth asking without a rest
    static constexpr std::uint64_t least_pause_ns = 1'000'000;
    static constexpr std::uint64_t vain_pause_ns = 250'000'000; // after `most_rest` was reached
    static constexpr std::uint64_t longest_vain_pause_ns = 8'000'000'000;

    constexpr asking() noexcept = default;
    explicit constexpr asking(when w) noexcept : when_(w) {}

    // `used` of the `top` pages that may be used are in use.
    bool is_due(page_count used, page_count top, std::uint64_t now_ns) const noexcept;
    // The same but for the time: at a watermark, or because the kernel is short of memory.
    bool is_wanted(page_count used, page_count top) const noexcept;
    // Half of the room that was left is used up again: no time for a rest, if the last time was of use.
    bool is_urgent(page_count used) const noexcept { return used >= urgent_at_; }
    page_count urgent_at() const noexcept { return urgent_at_; }
    // From how many pages on (never: all ones); and, monotonic, not before which time.
    page_count ask_at(page_count top) const noexcept;
    std::uint64_t not_before() const noexcept { return not_before_ns_; }
    bool is_pressed() const noexcept { return is_pressed_; }

    // Did that bring room?
    static bool was_of_use(page_count before, page_count after, page_count top) noexcept;
    // It was asked: what was in use before and after, and how long it took. `freed_inside`: what a
    // runtime says it has freed and keeps; it takes less for a while, so that was of use too.
    void asked(page_count before, page_count after, page_count top, std::uint64_t begun_ns,
               std::uint64_t ended_ns, page_count freed_inside = 0) noexcept;
    // Nothing was asked for a while: a level that has gone down by itself lowers the next watermark, and
    // what was too much may fit by now.
    void calm(page_count used, page_count top) noexcept;
    // Another top: as at first, but never sooner after the last time than that took.
    void limit_changed() noexcept;
    // The kernel is short of memory: asked once, below the watermark too, unless since the last time
    // less than a 64th was taken.
    void pressed(page_count used) noexcept;
    // The runtime could not be asked just now: what it has begun with is not worth the trying.
    void drop_pressure() noexcept { is_pressed_ = false; }
    void drop_urgency() noexcept { urgent_at_ = never; }

private:
    static page_count first(page_count top) noexcept {
        return top / 1000 * first_permille + top % 1000 * first_permille / 1000;
    }
    static constexpr page_count never = ~page_count{0};
    static page_count next_after(page_count used, page_count top) noexcept;

    page_count at_ = 0; // 0: the first watermark
    page_count urgent_at_ = never;
    unsigned rest_ = least_rest;
    std::uint64_t vain_pause_ns_ = vain_pause_ns;
    std::uint64_t not_before_ns_ = 0;
    std::uint64_t soonest_ns_ = 0; // the least that not_before_ns_ may become
    when when_ = when::at_watermarks;
    bool is_pressed_ = false;
    bool may_not_fit_ = false; // the limit was changed, and since then nobody saw that it fits
    page_count worth_at_ = 0;  // under pressure
};

} // namespace memreeve::pressure
