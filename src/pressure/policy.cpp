// SPDX-License-Identifier: MIT
#include "pressure/policy.hpp"

namespace memreeve::pressure {

availability policy::wanted(unsigned permille) const noexcept {
    if (permille >= enter_low || (level_ == availability::low && permille >= leave_low)) {
        return availability::low;
    }
    if (permille < enter_high || (level_ == availability::high && permille < leave_high)) {
        return availability::high;
    }
    return availability::neutral;
}

policy::step policy::update(unsigned permille, std::uint64_t now_ns) noexcept {
    const availability next = wanted(permille);
    if (next < level_) {
        level_ = next;
        is_improving_ = false;
        low_told_at_ = now_ns;
        return {true, level_, level_ == availability::low ? now_ns + repeat_low_ns : never};
    }
    if (next == level_) {
        is_improving_ = false;
        if (level_ != availability::low) {
            return {false, level_, never};
        }
        const bool repeat = now_ns - low_told_at_ >= repeat_low_ns;
        if (repeat) {
            low_told_at_ = now_ns;
        }
        return {repeat, level_, low_told_at_ + repeat_low_ns};
    }
    if (!is_improving_) {
        is_improving_ = true;
        improving_since_ = now_ns;
    }
    if (now_ns - improving_since_ < hysteresis_ns) {
        return {false, level_, improving_since_ + hysteresis_ns};
    }
    // One step at a time, so that Low is always followed by Neutral.
    level_ = level_ == availability::low ? availability::neutral : availability::high;
    is_improving_ = next != level_;
    improving_since_ = now_ns;
    return {true, level_, is_improving_ ? now_ns + hysteresis_ns : never};
}

} // namespace memreeve::pressure
