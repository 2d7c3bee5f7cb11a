// SPDX-License-Identifier: MIT
// What the kernel says of this process's memory: its mappings, all read at once.
#pragma once

#include "base/access.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace memreeve::test {

struct kernel_line {
    range where;
    access allowed = access::none;
    bool is_private_anonymous = false;
    bool operator==(const kernel_line&) const = default;
};

inline std::vector<kernel_line> read_proc_maps() {
    std::vector<kernel_line> list;
    std::ifstream in("/proc/self/maps");
    std::string line;
    while (std::getline(in, line)) {
        unsigned long begin = 0;
        unsigned long end = 0;
        unsigned long inode = 0;
        char perms[8] = {};
        if (std::sscanf(line.c_str(), "%lx-%lx %7s %*s %*s %lu", &begin, &end, perms, &inode) ==
            4) {
            list.push_back(
                {{begin, end},
                 static_cast<access>((perms[0] == 'r' ? 1 : 0) | (perms[1] == 'w' ? 2 : 0) |
                                     (perms[2] == 'x' ? 4 : 0)),
                 perms[3] == 'p' && inode == 0});
        }
    }
    return list;
}

class kernel_view {
public:
    // Replaced by tests of the modelled kernel.
    static inline std::vector<kernel_line> (*source)() = read_proc_maps;

    kernel_view() : lines_(source()) {}
    const kernel_line* at(address a) const {
        const auto i =
            std::upper_bound(lines_.begin(), lines_.end(), a,
                             [](address x, const kernel_line& l) { return x < l.where.begin; });
        return i != lines_.begin() && std::prev(i)->where.contains(a) ? &*std::prev(i) : nullptr;
    }
    // f(piece, line or null) for the pieces of `r`.
    template <class F>
    void for_each(range r, F f) const {
        for (address a = r.begin; a < r.end;) {
            const kernel_line* l = at(a);
            address end = r.end;
            if (l != nullptr) {
                end = std::min(end, l->where.end);
            } else {
                const auto i = std::upper_bound(
                    lines_.begin(), lines_.end(), a,
                    [](address x, const kernel_line& k) { return x < k.where.begin; });
                end = i == lines_.end() ? end : std::min(end, i->where.begin);
            }
            f(range{a, end}, l);
            a = end;
        }
    }

private:
    std::vector<kernel_line> lines_;
};

} // namespace memreeve::test
