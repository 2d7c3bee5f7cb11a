// SPDX-License-Identifier: MIT
#include "pressure/asking.hpp"

#include <algorithm>

namespace memreeve::pressure {

namespace {

// What is less than this is no room.
page_count gap_of(page_count top) noexcept { return std::max<page_count>(top / 64, 256); }

} // namespace

page_count asking::next_after(page_count used, page_count top) noexcept {
    const page_count room = used < top ? top - used : 0;
    return std::max(first(top), used + std::max(gap_of(top), room / 3));
}

page_count asking::ask_at(page_count top) const noexcept { return std::max(at_, first(top)); }

bool asking::is_due(page_count used, page_count top, std::uint64_t now_ns) const noexcept {
    return used >= ask_at(top) && now_ns >= not_before_ns_;
}

bool asking::was_of_use(page_count before, page_count after, page_count top) noexcept {
    return after + gap_of(top) <= before;
}

void asking::asked(page_count before, page_count after, page_count top, std::uint64_t begun_ns,
                   std::uint64_t ended_ns) noexcept {
    rest_ = was_of_use(before, after, top) ? std::max(rest_ / 2, least_rest)
                                           : std::min(rest_ * 2, most_rest);
    at_ = next_after(after, top);
    not_before_ns_ = ended_ns + std::max((ended_ns - begun_ns) * rest_,
                                         rest_ == most_rest ? vain_pause_ns : least_pause_ns);
}

void asking::calm(page_count used, page_count top) noexcept {
    at_ = std::min(at_, next_after(used, top));
}

} // namespace memreeve::pressure
