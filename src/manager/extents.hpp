// SPDX-License-Identifier: MIT
// Where an image's memory lies and whose it is, in the image's record: our arenas, reservations at
// asked-for addresses, and mappings got elsewhere ("acquired"). Lock-free; a slot is claimed by
// compare-and-swap on its begin. When no slot is free the extent is counted as lost and its memory
// shows as unclassified; nothing else depends on it.
#pragma once

#include "base/units.hpp"
#include "telemetry/image_record.hpp"

#include <cstdint>

namespace memreeve::manager {

class extents {
public:
    constexpr extents() noexcept = default;
    explicit extents(telemetry::image_record* image) noexcept : image_(image) {}

    // `charged`: pages charged for it. False: no slot was free.
    bool add(range where, owner_id owner, telemetry::extent_kind kind, page_count charged) noexcept;
    // The extent that begins there, of that kind; null when there is none.
    telemetry::extent* find(address begin, telemetry::extent_kind kind) noexcept;
    // Any extent of that kind that contains `a`.
    telemetry::extent* containing(address a, telemetry::extent_kind kind) noexcept;
    void remove(telemetry::extent& e) noexcept;
    void remove(range where) noexcept; // the one with exactly this range

    // Takes `where` out of every acquired extent: f(owner, pages cut, pages that were charged).
    template <class F>
    void cut(range where, F&& f) noexcept;

    template <class F>
    void for_each(F&& f) noexcept {
        const std::uint32_t used = image_->extents_used.load(std::memory_order_acquire);
        for (std::uint32_t i = 0; i < used; ++i) {
            if (image_->extents[i].begin.load(std::memory_order_acquire) > 1) {
                f(image_->extents[i]);
            }
        }
    }

private:
    telemetry::image_record* image_ = nullptr;
};

template <class F>
void extents::cut(range where, F&& f) noexcept {
    for_each([&](telemetry::extent& e) {
        if (e.kind.load(std::memory_order_relaxed) !=
            static_cast<std::uint32_t>(telemetry::extent_kind::acquired)) {
            return;
        }
        const range have{e.begin.load(std::memory_order_acquire),
                         e.end.load(std::memory_order_acquire)};
        if (!have.overlaps(where)) {
            return;
        }
        const address from = have.begin > where.begin ? have.begin : where.begin;
        const address to = have.end < where.end ? have.end : where.end;
        const auto owner = static_cast<owner_id>(e.owner.load(std::memory_order_relaxed));
        const bool charged = e.charged.load(std::memory_order_relaxed) != 0;
        remove(e);
        for (const range rest : {range{have.begin, from}, range{to, have.end}}) {
            if (!rest.is_empty()) {
                add(rest, owner, telemetry::extent_kind::acquired, charged ? rest.pages() : 0);
            }
        }
        const page_count cut_pages = pages_of(to - from);
        f(owner, cut_pages, charged ? cut_pages : 0);
    });
}

} // namespace memreeve::manager
