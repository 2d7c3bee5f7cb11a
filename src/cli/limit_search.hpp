// SPDX-License-Identifier: MIT
// Which limit to try next, when the smallest one is looked for at which something still works.
//
// Bisects on a logarithmic scale between the largest limit that failed and the smallest from which
// on everything tried worked; then confirms that one and tries some larger ones. A failure above
// what was thought to be the answer moves the answer up: where results are not monotone, or by
// chance, the answer is the smallest limit above every failure that was seen. Pure; not thread-safe.
#pragma once

#include "base/units.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace memreeve::cli {

struct search_bounds {
    byte_count from = 0;     // nothing smaller is tried
    byte_count to = 0;       // nothing larger
    byte_count guess = 0;    // expected to work; within the bounds
    double tolerance = 0.05; // the answer is at most this share above a limit that fails
    unsigned repeat = 3;     // as often the answer has to work
};

class limit_search {
public:
    struct tried {
        unsigned worked = 0;
        unsigned failed = 0;
        bool works() const { return failed == 0 && worked != 0; }
    };

    explicit limit_search(const search_bounds& b);
    // The limit to try now, whole pages; nothing when all is known.
    std::optional<byte_count> next() const;
    void note(byte_count limit, bool worked);

    // The smallest limit that works with all larger ones that were tried; nothing when none is known.
    std::optional<byte_count> answer() const;
    // The largest limit that failed; 0 when none did.
    byte_count largest_failure() const;
    // Limits below a failure that worked all the same, ascending.
    std::vector<byte_count> islands() const;
    const std::map<byte_count, tried>& all() const { return tried_; }
    // Was it confirmed, and are its neighbours known?
    bool is_done() const { return !next().has_value(); }

private:
    std::optional<byte_count> next_upwards() const;

    search_bounds bounds_;
    std::map<byte_count, tried> tried_;
};

} // namespace memreeve::cli
