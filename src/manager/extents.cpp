// SPDX-License-Identifier: MIT
#include "manager/extents.hpp"

namespace memreeve::manager {

using telemetry::extent;
using telemetry::extent_capacity;
using telemetry::extent_kind;

bool extents::add(range where, owner_id owner, extent_kind kind, page_count charged) noexcept {
    for (std::uint32_t i = 0; i < extent_capacity; ++i) {
        extent& e = image_->extents[i];
        std::uint64_t empty = 0;
        if (e.begin.load(std::memory_order_relaxed) != 0 ||
            !e.begin.compare_exchange_strong(empty, 1, std::memory_order_acq_rel)) {
            continue;
        }
        e.end.store(where.end, std::memory_order_relaxed);
        e.owner.store(static_cast<std::uint32_t>(owner), std::memory_order_relaxed);
        e.kind.store(static_cast<std::uint32_t>(kind), std::memory_order_relaxed);
        e.charged.store(charged, std::memory_order_relaxed);
        std::uint32_t used = image_->extents_used.load(std::memory_order_relaxed);
        while (used < i + 1 && !image_->extents_used.compare_exchange_weak(
                                   used, i + 1, std::memory_order_acq_rel)) {
        }
        e.begin.store(where.begin, std::memory_order_release);
        return true;
    }
    image_->extents_lost.fetch_add(1, std::memory_order_relaxed);
    return false;
}

extent* extents::find(address begin, extent_kind kind) noexcept {
    extent* hit = nullptr;
    for_each([&](extent& e) {
        if (e.begin.load(std::memory_order_acquire) == begin &&
            e.kind.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(kind)) {
            hit = &e;
        }
    });
    return hit;
}

extent* extents::containing(address a, extent_kind kind) noexcept {
    extent* hit = nullptr;
    for_each([&](extent& e) {
        const range r{e.begin.load(std::memory_order_acquire),
                      e.end.load(std::memory_order_relaxed)};
        if (r.contains(a) &&
            e.kind.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(kind)) {
            hit = &e;
        }
    });
    return hit;
}

void extents::remove(extent& e) noexcept { e.begin.store(0, std::memory_order_release); }

void extents::remove(range where) noexcept {
    for_each([&](extent& e) {
        if (e.begin.load(std::memory_order_acquire) == where.begin &&
            e.end.load(std::memory_order_relaxed) == where.end &&
            e.kind.load(std::memory_order_relaxed) !=
                static_cast<std::uint32_t>(extent_kind::acquired)) {
            remove(e);
        }
    });
}

} // namespace memreeve::manager
