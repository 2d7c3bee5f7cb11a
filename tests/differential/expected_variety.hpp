// SPDX-License-Identifier: MIT
// What a run of `least_for_variety` operations must have met, and how often.
#pragma once

#include "variety.hpp"

#include <cstdio>

namespace memreeve::differential {

#ifndef MEMREEVE_DIFFERENTIAL_OPERATIONS
#define MEMREEVE_DIFFERENTIAL_OPERATIONS 100000
#endif
inline constexpr std::uint64_t default_operations = MEMREEVE_DIFFERENTIAL_OPERATIONS;
inline constexpr std::uint64_t least_for_variety = 1000000;

inline void show_variety(const variety& seen) {
    for (unsigned f = 0; f < variety::forms; ++f) {
        for (unsigned r = 0; r < variety::ends; ++r) {
            if (seen.sum(static_cast<form>(f), r, variety::any, variety::any) == 0) {
                continue;
            }
            std::printf("%-15s %-9s", form_names[f], result_names[r]);
            for (unsigned s = 0; s < variety::states; ++s) {
                if (const auto n = seen.sum(static_cast<form>(f), r, s, variety::any); n != 0) {
                    std::printf(" %s %llu", state_names[s], static_cast<unsigned long long>(n));
                }
            }
            std::printf(" |");
            for (unsigned e = 0; e < variety::extents; ++e) {
                if (const auto n = seen.sum(static_cast<form>(f), r, variety::any, e); n != 0) {
                    std::printf(" %s %llu", extent_names[e], static_cast<unsigned long long>(n));
                }
            }
            std::printf("\n");
        }
    }
    std::printf("cells met 20 times: %zu\n", seen.cells(20));
}

// Row in full: of a million operations, commits are refused with 87 at least `least_in_a_million`
// times on a free page, as often on a reserved one, ...; and as often for a size of 0, ... Letters of
// states and sizes: the tables below. Error 8 is not among them: it needs a system without memory,
// which is the fault sweeps' and the mapping limit's business.
struct expectation {
    form what;
    unsigned result;
    const char* states;
    const char* sizes;
};
inline constexpr std::uint64_t least_in_a_million = 8;
inline constexpr std::size_t least_cells = 700;       // of the whole product, each met 20 times
inline constexpr char state_letters[] = "NFTR0rwxag"; // page_state
inline constexpr char size_letters[] = "0h1pgLE";     // extent

inline constexpr expectation expected_variety[] = {
    {form::reserve, 0, "F", "h1pg"},
    {form::reserve, 87, "NFTR0rwxag", "0h1pgLE"},
    {form::reserve, 487, "FTR0rwxag", "h1pgL"},
    {form::reserve, 1314, "FTR0rwxag", "h1pg"},
    {form::reserve_commit, 0, "F", "h1pg"},
    {form::reserve_commit, 87, "NFTR0rwxag", "0h1pgLE"},
    {form::reserve_commit, 487, "FTR0rwxag", "h1pgL"},
    {form::place, 0, "N", "h1pL"},
    {form::place, 87, "N", "0h1pg"},
    {form::place_committed, 0, "N", "h1pgL"},
    {form::place_committed, 87, "N", "0h1pL"},
    {form::commit, 0, "R0rwxag", "h1pgL"},
    {form::commit, 87, "NFTR0rwxag", "0h1pgE"},
    {form::commit, 487, "FTR0rwxag", "h1pg"},
    {form::reset, 0, "R0rwxag", "h1pg"},
    {form::reset, 87, "NFTR0rwxag", "0h1pgLE"},
    {form::reset, 487, "FTR0rwxag", "h1pg"},
    {form::reset_undo, 87, "NFTR0rwxag", "0h1pgE"},
    {form::reset_undo, 487, "FTR0rwxag", "h1pg"},
    {form::decommit, 0, "R0rwxag", "0h1pgL"},
    {form::decommit, 87, "NFTR0rwxag", "0h1pgE"},
    {form::decommit, 487, "NFTR0rwxag", "0h1pg"},
    {form::release, 0, "R0rwxag", "0"},
    {form::release, 87, "FTR0rwxag", "hp"},
    {form::release, 487, "FTR0rwxag", "0"},
    {form::protect, 0, "0rwxag", "h1pgL"},
    {form::protect, 87, "NFTR0rwxag", "0h1pgE"},
    {form::protect, 487, "NFTR0rwxag", "h1pgL"},
    {form::protect, 998, "NFTR0rwxag", "0h1pg"},
    {form::query, 0, "NFTR0rwxag", "1"},
    {form::query, 87, "N", "1"},
    {form::read, 0, "rwxa", "h"},
    {form::read, result_violation, "NFTR0", "h"},
    {form::read, result_guard, "g", "h"},
    {form::write, 0, "wa", "h"},
    {form::write, result_violation, "NFTR0rx", "h"},
    {form::write, result_guard, "g", "h"},
    {form::call, 0, "xa", "h"},
    {form::call, result_violation, "NFTR0rw", "h"},
    {form::call, result_guard, "g", "h"},
    {form::fill, 0, "wa", "1"},
};
inline constexpr expectation expected_with_write_watch[] = {
    {form::reserve_watched, 0, "F", "hp"}, {form::reserve_watched, 487, "TRwxag", "h1pg"},
    {form::get_watch, 0, "Rwag", "h1p"},   {form::get_watch, 87, "FTRwxag", "0h1pg"},
    {form::reset_watch, 0, "Rw", "p"},     {form::reset_watch, 87, "FTRw", "p"},
};

inline int check_row(const variety& seen, const expectation& e, std::uint64_t least) {
    unsigned r = 0;
    while (results[r] != e.result) {
        ++r;
    }
    int missing = 0;
    const auto ask = [&](std::uint64_t got, const char* name) {
        if (got < least) {
            std::printf("the generator lost its variety: %s, %s, %s was met %llu times, not %llu\n",
                        form_names[static_cast<unsigned>(e.what)], result_names[r], name,
                        static_cast<unsigned long long>(got),
                        static_cast<unsigned long long>(least));
            missing = 1;
        }
    };
    for (unsigned s = 0; s < variety::states; ++s) {
        for (const char* c = e.states; *c != '\0'; ++c) {
            if (*c == state_letters[s]) {
                ask(seen.sum(e.what, r, s, variety::any), state_names[s]);
            }
        }
    }
    for (unsigned x = 0; x < variety::extents; ++x) {
        for (const char* c = e.sizes; *c != '\0'; ++c) {
            if (*c == size_letters[x]) {
                ask(seen.sum(e.what, r, variety::any, x), extent_names[x]);
            }
        }
    }
    return missing;
}

// 0: everything was met often enough.
inline int check_variety(const variety& seen, std::uint64_t operations, bool with_write_watch) {
    const std::uint64_t least = least_in_a_million * operations / 1000000;
    int missing = 0;
    for (const expectation& e : expected_variety) {
        missing |= check_row(seen, e, least);
    }
    for (const expectation& e : expected_with_write_watch) {
        missing |= with_write_watch ? check_row(seen, e, least) : 0;
    }
    if (seen.cells(20) < least_cells) {
        std::printf("the generator lost its variety: %zu kinds of operation were met, not %zu\n",
                    seen.cells(20), least_cells);
        missing = 1;
    }
    return missing;
}

} // namespace memreeve::differential
