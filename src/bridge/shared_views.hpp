// SPDX-License-Identifier: MIT
// Where this process has files mapped that serve as memory: address range -> file and page of it.
// Lock-free; a slot is claimed by compare-and-swap on its begin. What finds no slot is counted as
// lost: its file is then never taken for unused, and its pages are asked of the kernel.
//
// Of every 64 slots it is kept between which addresses they ever had views: a look at an address passes
// over the others. It only widens; views that live long lie near those that came with them.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::bridge {

class shared_views {
public:
    struct slot {
        std::atomic<address> begin{0}; // 0 empty, 1 being written
        std::atomic<address> end{0};
        std::atomic<page_count> first{0}; // page of the file at `begin`
        std::atomic<std::uint32_t> file{0};
        std::uint32_t padding = 0;
    };
    struct view {
        range where{};
        page_count first = 0;
        std::uint32_t file = 0;
    };
    static constexpr std::uint32_t capacity = 65536;
    static constexpr std::uint32_t together = 64; // slots
    struct span {
        std::atomic<address> not_below{0}; // complement of the lowest begin: zero is "none yet"
        std::atomic<address> end{0};
    };
    static constexpr byte_count spans_size = capacity / together * sizeof(span);
    static constexpr byte_count slots_size = capacity * sizeof(slot); // of address space
    // Makes [begin, begin + size) readable and writable; 0 or an errno. Idempotent.
    using grow_function = int (*)(address begin, byte_count size) noexcept;

    constexpr shared_views() noexcept = default;
    void open(void* zeroed_spans, address slots, grow_function grow) noexcept {
        spans_ = static_cast<span*>(zeroed_spans);
        slots_ = reinterpret_cast<slot*>(slots);
        grow_ = grow;
    }
    // Room for one more, and for those of threads that come at the same time; false: the system gives no
    // memory for it. Asked before a view is mapped, because add() cannot fail for that then.
    bool make_room() noexcept {
        constexpr std::uint32_t at_once = 64;
        const std::uint32_t most = used_.load(std::memory_order_relaxed) + at_once;
        return is_ready((most < capacity ? most : capacity) - 1);
    }
    bool is_empty() const noexcept { return count_.load(std::memory_order_acquire) == 0; }
    bool has_lost() const noexcept { return lost_.load(std::memory_order_relaxed) != 0; }

    bool add(const view& v) noexcept {
        for (std::uint32_t i = hint_.load(std::memory_order_relaxed); i < capacity; ++i) {
            if (!is_ready(i)) {
                break;
            }
            address empty = 0;
            slot& s = slots_[i];
            if (s.begin.load(std::memory_order_relaxed) != 0 ||
                !s.begin.compare_exchange_strong(empty, being_written, std::memory_order_acq_rel)) {
                continue;
            }
            s.end.store(v.where.end, std::memory_order_relaxed);
            s.first.store(v.first, std::memory_order_relaxed);
            s.file.store(v.file, std::memory_order_relaxed);
            count_.fetch_add(1, std::memory_order_relaxed);
            std::uint32_t used = used_.load(std::memory_order_relaxed);
            while (used < i + 1 &&
                   !used_.compare_exchange_weak(used, i + 1, std::memory_order_acq_rel)) {
            }
            hint_.store(i + 1 < capacity ? i + 1 : 0, std::memory_order_relaxed);
            widen(spans_[i / together].not_below, ~v.where.begin);
            widen(spans_[i / together].end, v.where.end);
            s.begin.store(v.where.begin, std::memory_order_release);
            return true;
        }
        if (hint_.exchange(0, std::memory_order_relaxed) != 0) {
            return add(v); // once more from the start
        }
        lost_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }

    // f(const view&) for the part of every view that lies in `where`.
    template <class F>
    void for_each(range where, F&& f) noexcept {
        const std::uint32_t used = used_.load(std::memory_order_acquire);
        for (std::uint32_t i = next_near(0, used, where); i < used;
             i = next_near(i + 1, used, where)) {
            const address begin = slots_[i].begin.load(std::memory_order_acquire);
            const view v = cut_out(slots_[i], begin, where);
            // Read while it was written by somebody else: gone, or about to be.
            if (!v.where.is_empty() && slots_[i].begin.load(std::memory_order_acquire) == begin) {
                f(v);
            }
        }
    }

    // Takes `where` out of every view, exactly once however many do so at a time: f(const view&).
    template <class F>
    void cut(range where, F&& f) noexcept {
        constexpr int patience = 1000; // as manager/extents.hpp: a thread may be stopped inside
        bool again = true;
        for (int tries = 0; again && tries < patience; ++tries) {
            again = false;
            const std::uint32_t used = used_.load(std::memory_order_acquire);
            for (std::uint32_t i = next_near(0, used, where); i < used;
                 i = next_near(i + 1, used, where)) {
                slot& s = slots_[i];
                address begin = s.begin.load(std::memory_order_acquire);
                again = again || begin == being_written;
                const view gone = cut_out(s, begin, where);
                if (gone.where.is_empty()) {
                    continue;
                }
                const range have{begin, s.end.load(std::memory_order_relaxed)};
                const page_count first = s.first.load(std::memory_order_relaxed);
                if (!s.begin.compare_exchange_strong(begin, being_written,
                                                     std::memory_order_acq_rel)) {
                    again = true;
                    continue;
                }
                for (const range rest :
                     {range{have.begin, gone.where.begin}, range{gone.where.end, have.end}}) {
                    if (!rest.is_empty()) {
                        static_cast<void>(
                            add({rest, first + pages_of(rest.begin - have.begin), gone.file}));
                    }
                }
                s.begin.store(0, std::memory_order_release);
                count_.fetch_sub(1, std::memory_order_relaxed);
                if (i < hint_.load(std::memory_order_relaxed)) {
                    hint_.store(i, std::memory_order_relaxed);
                }
                f(gone);
            }
        }
    }

    // In the only thread of a fork's child: what another thread was writing is nobody's.
    void settle_after_fork() noexcept {
        const std::uint32_t used = slots_ != nullptr ? used_.load(std::memory_order_relaxed) : 0;
        std::uint32_t live = 0;
        for (std::uint32_t i = 0; i < used; ++i) {
            if (slots_[i].begin.load(std::memory_order_relaxed) == being_written) {
                slots_[i].begin.store(0, std::memory_order_relaxed);
                lost_.fetch_add(1, std::memory_order_relaxed);
            }
            live += slots_[i].begin.load(std::memory_order_relaxed) != 0 ? 1U : 0U;
        }
        count_.store(live, std::memory_order_relaxed);
        hint_.store(0, std::memory_order_relaxed);
    }

private:
    static constexpr address being_written = 1;

    static view cut_out(const slot& s, address begin, range where) noexcept {
        const address end = s.end.load(std::memory_order_relaxed);
        if (begin <= being_written || begin >= where.end || end <= where.begin) {
            return {};
        }
        const range part{begin > where.begin ? begin : where.begin,
                         end < where.end ? end : where.end};
        return {part, s.first.load(std::memory_order_relaxed) + pages_of(part.begin - begin),
                s.file.load(std::memory_order_relaxed)};
    }

    // Slots become memory some at a time, so that few views cost little.
    bool is_ready(std::uint32_t i) noexcept {
        constexpr std::uint32_t at_a_time = 2048; // 64 KiB
        std::uint32_t ready = ready_.load(std::memory_order_acquire);
        while (i >= ready) {
            if (grow_(reinterpret_cast<address>(slots_ + ready), at_a_time * sizeof(slot)) != 0) {
                return false;
            }
            if (ready_.compare_exchange_strong(ready, ready + at_a_time,
                                               std::memory_order_acq_rel)) {
                ready += at_a_time;
            }
        }
        return true;
    }

    static void widen(std::atomic<address>& most, address to) noexcept {
        address seen = most.load(std::memory_order_relaxed);
        while (seen < to && !most.compare_exchange_weak(seen, to, std::memory_order_release)) {
        }
    }

    // The first slot from `i` on that may hold a view in `where`; `used`: there is none.
    std::uint32_t next_near(std::uint32_t i, std::uint32_t used, range where) const noexcept {
        while (i < used && i % together == 0) {
            const span& s = spans_[i / together];
            if (where.begin < s.end.load(std::memory_order_acquire) &&
                ~s.not_below.load(std::memory_order_acquire) < where.end) {
                break;
            }
            i += together;
        }
        return i < used ? i : used;
    }

    slot* slots_ = nullptr;
    span* spans_ = nullptr;
    grow_function grow_ = nullptr;
    std::atomic<std::uint32_t> ready_{0}; // slots that are memory
    std::atomic<std::uint32_t> used_{0};  // one past the highest slot ever used
    std::atomic<std::uint32_t> hint_{0};  // where to look for an empty one first
    std::atomic<std::uint32_t> count_{0}; // in use
    std::atomic<std::uint32_t> lost_{0};
};

} // namespace memreeve::bridge
