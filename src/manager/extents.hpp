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
    // The one with exactly this range; not an acquired one, whose charge goes back by cut().
    void remove(range where) noexcept;

    // Takes `where` out of every acquired extent, exactly once however many do so at a time: f(owner, pages cut, pages that were charged).
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
    // A slot whose begin is 1 is being cut by somebody else, whose rests may overlap `where`: look
    // again, but do not wait for ever for a thread that may be stopped.
    constexpr int patience = 1000;
    bool again = true;
    for (int tries = 0; again && tries < patience; ++tries) {
        again = false;
        const std::uint32_t used = image_->extents_used.load(std::memory_order_acquire);
        for (std::uint32_t i = 0; i < used; ++i) {
            telemetry::extent& e = image_->extents[i];
            std::uint64_t begin = e.begin.load(std::memory_order_acquire);
            again = again || begin == 1;
            const range have{begin, e.end.load(std::memory_order_relaxed)};
            if (begin <= 1 || !have.overlaps(where) ||
                e.kind.load(std::memory_order_relaxed) !=
                    static_cast<std::uint32_t>(telemetry::extent_kind::acquired)) {
                continue;
            }
            if (!e.begin.compare_exchange_strong(begin, 1, std::memory_order_acq_rel)) {
                again = true;
                continue;
            }
            const address from = have.begin > where.begin ? have.begin : where.begin;
            const address to = have.end < where.end ? have.end : where.end;
            const auto owner = static_cast<owner_id>(e.owner.load(std::memory_order_relaxed));
            const bool charged = e.charged.load(std::memory_order_relaxed) != 0;
            page_count gone = pages_of(to - from);
            for (const range rest : {range{have.begin, from}, range{to, have.end}}) {
                if (!rest.is_empty() && !add(rest, owner, telemetry::extent_kind::acquired,
                                             charged ? rest.pages() : 0)) {
                    gone += rest.pages(); // no slot: its charge would never come back
                }
            }
            e.begin.store(0, std::memory_order_release);
            f(owner, gone, charged ? gone : 0);
        }
    }
}

} // namespace memreeve::manager
