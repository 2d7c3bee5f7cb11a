// SPDX-License-Identifier: MIT
// Runs lists of operations, and makes a failing one short: each attempt in a child process, so that a
// crash is a failure like another.
#pragma once

#include "support/apart.hpp"
#include "twin.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace memreeve::differential {

// On a fresh host. Empty, or the first disagreement.
inline std::string play(const std::vector<operation>& list, plant mistake = plant::none) {
    test_host h;
    if (!h.good) {
        return "no host";
    }
    twin t(h, 0, mistake);
    t.whole_every = 64;
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (std::string what = t.run(list[i]); !what.empty()) {
            return "operation " + std::to_string(i) + " " + text_of(list[i]) + ": " + what;
        }
    }
    return t.finish();
}

// play() in a child: what it says, or how it ended.
inline std::string play_apart(const std::vector<operation>& list, plant mistake = plant::none,
                              unsigned patience_seconds = 60) {
    return test::play_apart([&] { return play(list, mistake); }, patience_seconds);
}

// Takes operations out, in ever smaller pieces, as long as the rest still fails.
inline std::vector<operation> shrink(std::vector<operation> list, plant mistake = plant::none,
                                     std::chrono::seconds patience = std::chrono::seconds(60)) {
    return test::shorten(
        std::move(list),
        [&](const std::vector<operation>& rest) { return !play_apart(rest, mistake).empty(); },
        patience);
}

} // namespace memreeve::differential
