// SPDX-License-Identifier: MIT
#include "pressure/asking.hpp"

#include <algorithm>

namespace memreeve::pressure {

namespace {

// What is less than this is no room.
page_count gap_of(page_count top) noexcept { return std::max<page_count>(top / 64, 256); }

} // namespace

page_count asking::next_after(page_count used, page_count top) noexcept {
    if (used >= top) {
        return top; // it does not fit
    }
    return std::max(first(top), std::min(top, used + std::max(gap_of(top), (top - used) / 3)));
}

page_count asking::ask_at(page_count top) const noexcept {
    if (when_ == when::lowered) {
        return may_not_fit_ ? top : never;
    }
    return std::max(at_, first(top));
}

bool asking::is_wanted(page_count used, page_count top) const noexcept {
    return is_pressed_ || used >= ask_at(top);
}

bool asking::is_due(page_count used, page_count top, std::uint64_t now_ns) const noexcept {
    return is_wanted(used, top) && (now_ns >= not_before_ns_ || is_urgent(used));
}

bool asking::was_of_use(page_count before, page_count after, page_count top) noexcept {
    return after + std::min(gap_of(top), gap_of(before)) <= before;
}

void asking::asked(page_count before, page_count after, page_count top, std::uint64_t begun_ns,
                   std::uint64_t ended_ns, page_count freed_inside) noexcept {
    const std::uint64_t took = ended_ns - begun_ns;
    std::uint64_t pause = least_pause_ns;
    const page_count gained = std::max(before > after ? before - after : 0, freed_inside);
    const bool is_of_use = was_of_use(before, after, top) || was_of_use(freed_inside, 0, top);
    if (is_of_use) {
        rest_ = std::max(rest_ / 2, least_rest);
        vain_pause_ns_ = vain_pause_ns;
    } else if (rest_ < most_rest) {
        rest_ *= 2;
    } else {
        vain_pause_ns_ = std::min(vain_pause_ns_ * 2, longest_vain_pause_ns);
    }
    if (rest_ == most_rest) {
        pause = vain_pause_ns_;
    }
    at_ = next_after(after, top);
    may_not_fit_ = may_not_fit_ && after >= top;
    urgent_at_ = is_of_use && after < top && when_ == when::at_watermarks
                     ? std::max(at_, after + std::max(gap_of(top), (top - after) / 2))
                     : never;
    worth_at_ = after + gap_of(after);
    is_pressed_ = false;
    soonest_ns_ = ended_ns + std::max(took, least_pause_ns);
    // What is worth so much is filled again in no time.
    not_before_ns_ = ended_ns + (gained >= top / much ? pause : std::max(took * rest_, pause));
}

void asking::calm(page_count used, page_count top) noexcept {
    at_ = std::min(at_, next_after(used, top));
    may_not_fit_ = may_not_fit_ && used >= top;
    worth_at_ = std::min(worth_at_, used + gap_of(used));
}

void asking::limit_changed() noexcept {
    at_ = 0;
    may_not_fit_ = true;
    urgent_at_ = never;
    rest_ = least_rest;
    vain_pause_ns_ = vain_pause_ns;
    not_before_ns_ = soonest_ns_;
}

void asking::pressed(page_count used) noexcept { is_pressed_ = is_pressed_ || used >= worth_at_; }

} // namespace memreeve::pressure
