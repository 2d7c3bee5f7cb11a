// SPDX-License-Identifier: MIT
#include "cli/kernel_pressure.hpp"

#include "prim/prim.hpp"

namespace memreeve::cli {

void kernel_pressure::start() {
    const std::uint64_t now = prim::now_ns();
    groups_.open("");
    watch_.wishes().read_environment();
    watch_.open("", groups_, now);
    next_look_ = now;
}

void kernel_pressure::look(std::uint64_t now_ns) {
    if (now_ns < next_look_) {
        return;
    }
    next_look_ = now_ns + manager::pressure_watch::read_period_ns;
    const bool is_news = watch_.look(now_ns);
    if (is_news ||
        (watch_.is_pressed(now_ns) && now_ns - told_at_ >= manager::pressure_watch::hold_ns)) {
        told_at_ = now_ns;
        books_.note_pressure();
    }
}

} // namespace memreeve::cli
