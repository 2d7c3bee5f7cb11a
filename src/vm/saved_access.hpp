// SPDX-License-Identifier: MIT
// The kernel's access of memory that is not ours to know, kept while it is changed. N runs; more
// cannot be undone from here and are refused beforehand (ENOMEM).
#pragma once

#include "base/access.hpp"
#include "base/units.hpp"
#include "prim/prim.hpp"

namespace memreeve::vm {

// What a small reservation can consist of, and more.
inline constexpr unsigned most_saved = 64;

template <unsigned N>
class saved_access {
public:
    // 0, or what find_mapping says; ENOENT also for a hole.
    int save(range span) noexcept {
        for (address a = span.begin; a < span.end;) {
            prim::mapping m;
            const int e = prim::find_mapping(a, &m);
            if (e != 0 || m.where.begin > a) {
                return e != 0 ? e : 2 /* ENOENT */;
            }
            if (count_ == N) {
                return 12 /* ENOMEM */;
            }
            const address end = m.where.end < span.end ? m.where.end : span.end;
            runs_[count_++] = {{a, end}, m.allowed};
            a = end;
        }
        return 0;
    }
    bool put_back() const noexcept {
        bool all = true;
        for (unsigned i = 0; i < count_; ++i) {
            const range r = runs_[i].where;
            all = prim::protect(r.begin, r.size(), runs_[i].before) == 0 && all;
        }
        return all;
    }
    // Precondition: something was saved.
    access first() const noexcept { return runs_[0].before; }

private:
    struct run {
        range where;
        access before;
    };
    run runs_[N]{};
    unsigned count_ = 0;
};

} // namespace memreeve::vm
