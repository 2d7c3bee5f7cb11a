// SPDX-License-Identifier: MIT
// What the kernel allows at each page against the model, and what may be open at its mapping limit
// although the model has it closed: what was given up and could not be taken back.
#pragma once

#include "page_model.hpp"
#include "variety.hpp"

#include "support/kernel_truth.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

namespace memreeve::differential {

inline std::string hex(std::uint64_t n) {
    char text[24];
    std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(n));
    return text;
}
inline std::string differs(const char* what, std::uint64_t expected, std::uint64_t got) {
    return std::string(what) + " expected " + hex(expected) + ", got " + hex(got);
}

class kernel_comparison {
public:
    // `at_limit`: the twin's, which changes.
    kernel_comparison(const page_model& model, const bool& at_limit)
        : model_(model), at_limit_(at_limit) {}

    // Where the kernel must be read as text, it is asked every 256th operation only (decision 33).
    bool is_quick() const { return truth_.is_quick(); }

    // Nothing of the window is mapped any more.
    bool is_window_unmapped() {
        const auto& pieces = truth_.look(model_.begin(), model_.end());
        return pieces.size() == 1 && !pieces.front().mapped;
    }

    // At the limit: is a page free for the model, and perhaps mapped still?
    bool may_be_owed(std::uint64_t a) const {
        return at_limit_ && model_.find(page_model::down(a)) == nullptr;
    }
    // At the limit: may a page that is so for the model be accessible still, or somebody else's?
    bool may_be_open(page_state is) const { return at_limit_ && is < page_state::noaccess; }

    // Empty, or the first page of [begin, end) of which the kernel says otherwise.
    std::string compare(std::uint64_t begin, std::uint64_t end) {
        for (const test::kernel_truth::piece& k : truth_.look(begin, end)) {
            const page_model::reservation* r = nullptr;
            for (std::uint64_t p = k.begin; p < k.end; p += page) {
                if (r == nullptr || p >= r->end) {
                    r = model_.find(p);
                }
                if (at_limit_ && (r == nullptr || page_model::at(*r, p).protect == 0)) {
                    continue;
                }
                const unsigned allowed =
                    r == nullptr ? 0 : model_.kernel_access(page_model::at(*r, p).protect);
                if (k.access != allowed) {
                    return "the kernel at " + hex(p) + ": " + differs("rwx", allowed, k.access);
                }
                if (r != nullptr && !(k.mapped && k.anonymous)) {
                    return "the kernel has no private anonymous memory at " + hex(p);
                }
                if (r == nullptr && model_.is_in_window(p)) {
                    // Free as far as the model knows: on to the next granule's edge.
                    p |= page_model::granule - page;
                }
            }
        }
        return {};
    }
    // [begin, end) and a page on either side, as far as the model knows what is there: beyond a
    // reservation outside the window lies its last granule and then somebody else's.
    std::string compare_round(std::uint64_t begin, std::uint64_t end) {
        std::uint64_t low = model_.begin();
        std::uint64_t high = model_.end();
        if (!model_.is_in_window(begin)) {
            const page_model::reservation* r = model_.find(begin);
            r = r != nullptr ? r : model_.tail_of(begin);
            if (r == nullptr) {
                return {};
            }
            low = r->base;
            high = model_.has_tail(*r) ? page_model::up_to_granule(r->end) : r->end;
        }
        return compare(std::max(begin - page, low), std::min(end + page, high));
    }

private:
    static constexpr std::uint64_t page = page_model::page;

    const page_model& model_;
    const bool& at_limit_;
    test::kernel_truth truth_;
};

} // namespace memreeve::differential
