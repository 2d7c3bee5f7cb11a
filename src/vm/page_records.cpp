// SPDX-License-Identifier: MIT
#include "vm/page_records.hpp"

namespace memreeve::vm {

using map_detail::generation_of;
using map_detail::meta_word;

page_records::id page_records::pop(free_stacks& from) noexcept {
    return from.pop([this](id which) { return below(which); });
}

void page_records::push(free_stacks& to, id which) noexcept {
    to.push(which,
            [this](id top, id under) { at(top).codes.store(under, std::memory_order_release); });
}

// A unit of new records: the first for the caller, the others for `rest`.
page_records::id page_records::make(free_stacks& rest) noexcept {
    const std::uint32_t unit = units_->take(1);
    if (unit == record_array::none || unit > 0xffffff) {
        return 0;
    }
    made_.fetch_add(per_unit, std::memory_order_acq_rel);
    for (unsigned slot = 1; slot < per_unit; ++slot) {
        push(rest, unit << 4 | slot);
    }
    return unit << 4;
}

page_records::id page_records::take(purpose what) noexcept {
    if (!keeps_.load(std::memory_order_acquire)) {
        const id first = make(kept_);
        if (first == 0) {
            return 0;
        }
        push(kept_, first);
        keeps_.store(true, std::memory_order_release); // two threads at once keep two units
    }
    id got = pop(free_);
    got = got != 0 ? got : make(free_);
    if (got == 0 && what == purpose::publishing) {
        got = pop(kept_);
        if (got != 0) {
            lent_.fetch_add(1, std::memory_order_acq_rel);
        }
    }
    if (got != 0) {
        // Who is late and holds a word of the generation before fails from here on.
        page_record& r = at(got);
        r.meta.store(meta_word(0, generation_of(r.meta.load(std::memory_order_relaxed)) + 1),
                     std::memory_order_release);
    }
    return got;
}

void page_records::give(id which) noexcept {
    page_record& r = at(which);
    r.meta.store(meta_word(0, generation_of(r.meta.load(std::memory_order_relaxed))),
                 std::memory_order_release);
    r.home.store(0, std::memory_order_release);
    std::uint32_t lent = lent_.load(std::memory_order_relaxed);
    while (lent != 0 && !lent_.compare_exchange_weak(lent, lent - 1, std::memory_order_acq_rel)) {
    }
    push(lent != 0 ? kept_ : free_, which);
}

} // namespace memreeve::vm
