// SPDX-License-Identifier: MIT
// What a random run has met: form of the operation x result x state of the first page x size. A run
// whose generator has lost its variety proves less than it says, so the counts are asserted.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace memreeve::differential {

enum class form : unsigned {
    reserve,
    reserve_commit,
    reserve_watched,
    place,
    place_committed,
    commit,
    reset,
    reset_undo,
    decommit,
    release,
    protect,
    query,
    read,
    write,
    call,
    fill,
    get_watch,
    reset_watch,
    count,
};
inline constexpr const char* form_names[] = {"reserve", "reserve_commit",  "reserve_watched",
                                             "place",   "place_committed", "commit",
                                             "reset",   "reset_undo",      "decommit",
                                             "release", "protect",         "query",
                                             "read",    "write",           "call",
                                             "fill",    "get_watch",       "reset_watch"};

enum class page_state : unsigned {
    nowhere, // not in user space, or below 64 KiB
    free,
    tail, // free, in the last granule of a reservation (S4)
    reserved,
    noaccess,
    readonly,
    readwrite,
    executable, // PAGE_EXECUTE, PAGE_EXECUTE_READ
    everything, // PAGE_EXECUTE_READWRITE
    guarded,
    count,
};
inline constexpr const char* state_names[] = {"nowhere",    "free",     "tail",      "reserved",
                                              "noaccess",   "readonly", "readwrite", "executable",
                                              "everything", "guarded"};

enum class extent : unsigned {
    none,
    part, // of a page
    page,
    pages,    // below 64 KiB
    granules, // below 2 MiB
    large,
    endless, // beyond user space
    count,
};
inline constexpr const char* extent_names[] = {"none",     "part",  "page",   "pages",
                                               "granules", "large", "endless"};

inline constexpr unsigned result_violation = 0xc0000005, result_guard = 0x80000001;
inline constexpr unsigned results[] = {0, 87, 487, 998, 1314, result_violation, result_guard};
inline constexpr const char* result_names[] = {"ok",   "87",        "487",  "998",
                                               "1314", "violation", "guard"};

class variety {
public:
    static constexpr std::size_t forms = static_cast<std::size_t>(form::count);
    static constexpr std::size_t states = static_cast<std::size_t>(page_state::count);
    static constexpr std::size_t extents = static_cast<std::size_t>(extent::count);
    static constexpr std::size_t ends = sizeof results / sizeof results[0];

    void note(form f, unsigned result, page_state s, std::uint64_t size) {
        for (std::size_t r = 0; r < ends; ++r) {
            if (results[r] == result) {
                ++at(f, r, s, extent_of(size));
                return;
            }
        }
    }
    void add(const variety& other) {
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            counts_[i] += other.counts_[i];
        }
    }
    // Sums; the argument that is `any` takes all.
    static constexpr unsigned any = ~0u;
    std::uint64_t sum(form f, unsigned result, unsigned state, unsigned size) const {
        std::uint64_t total = 0;
        for (std::size_t s = 0; s < states; ++s) {
            for (std::size_t e = 0; e < extents; ++e) {
                if ((state == any || state == s) && (size == any || size == e)) {
                    total += counts_[index(f, result, s, e)];
                }
            }
        }
        return total;
    }
    // Cells of the whole product that were met at least `times`.
    std::size_t cells(std::uint64_t times) const {
        std::size_t n = 0;
        for (const std::uint64_t c : counts_) {
            n += c >= times ? 1u : 0u;
        }
        return n;
    }

    static extent extent_of(std::uint64_t size) {
        return size == 0            ? extent::none
               : size < 0x1000      ? extent::part
               : size == 0x1000     ? extent::page
               : size < 0x10000     ? extent::pages
               : size < 0x200000    ? extent::granules
               : size < 0x400000000 ? extent::large
                                    : extent::endless;
    }

private:
    static std::size_t index(form f, std::size_t r, std::size_t s, std::size_t e) {
        return ((static_cast<std::size_t>(f) * ends + r) * states + s) * extents + e;
    }
    std::uint64_t& at(form f, std::size_t r, page_state s, extent e) {
        return counts_[index(f, r, static_cast<std::size_t>(s), static_cast<std::size_t>(e))];
    }
    std::array<std::uint64_t, forms * ends * states * extents> counts_{};
};

} // namespace memreeve::differential
