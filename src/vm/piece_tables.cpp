// SPDX-License-Identifier: MIT
#include "vm/placeholders.hpp"

namespace memreeve::vm {

namespace {

// Table: the number of pieces, then for each its first page within the area and kind << 32 |
// AllocationProtect.
constexpr std::uint32_t first_of(std::uint32_t piece) noexcept { return 1 + 2 * piece; }
constexpr std::uint64_t described(piece_kind kind, std::uint32_t protect) noexcept {
    return std::uint64_t{static_cast<unsigned char>(kind)} << 32 | protect;
}
constexpr piece_kind kind_in(std::uint64_t description) noexcept {
    return static_cast<piece_kind>(description >> 32 & 3);
}
static_assert(first_of(piece_tables::most_pieces) * sizeof(std::uint64_t) <=
              piece_tables::table_size);

constexpr std::uint32_t table_of(std::uint64_t tag) noexcept {
    return static_cast<std::uint32_t>(tag);
}

// What a table is built into; says no when it is full.
class builder {
public:
    explicit builder(std::atomic<std::uint64_t>* words) noexcept : words_(words) {}

    void add(page_count first, std::uint64_t description) noexcept {
        const bool both_vacant = count_ != 0 && kind_in(description) == piece_kind::vacant &&
                                 kind_in(last_) == piece_kind::vacant;
        if (both_vacant) {
            return;
        }
        if (count_ == piece_tables::most_pieces) {
            is_full_ = true;
            return;
        }
        words_[first_of(count_)].store(first, std::memory_order_relaxed);
        words_[first_of(count_) + 1].store(description, std::memory_order_relaxed);
        last_ = description;
        ++count_;
    }
    bool finish() noexcept {
        words_[0].store(count_, std::memory_order_relaxed);
        return !is_full_;
    }

private:
    std::atomic<std::uint64_t>* words_;
    std::uint32_t count_ = 0;
    std::uint64_t last_ = 0;
    bool is_full_ = false;
};

} // namespace

bool piece_tables::may_open() noexcept {
    unsigned char expected = closed;
    return is_open_.compare_exchange_strong(expected, opening, std::memory_order_acq_rel);
}

void piece_tables::open(address space, record_array::grow_function grow) noexcept {
    tables_.open(space, space_size, table_size, grow);
    free_.store(0, std::memory_order_relaxed);
    is_open_.store(ready, std::memory_order_release);
}

std::uint32_t piece_tables::take() noexcept {
    if (!is_open()) {
        return 0;
    }
    std::uint64_t seen = free_.load(std::memory_order_acquire);
    while (table_of(seen) != 0) {
        const std::uint64_t next = words(table_of(seen))[0].load(std::memory_order_relaxed);
        if (free_.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | (next & 0xffffffff),
                                        std::memory_order_acq_rel)) {
            return table_of(seen);
        }
    }
    return tables_.take(1);
}

void piece_tables::give(std::uint32_t table) noexcept {
    if (table == 0) {
        return;
    }
    std::uint64_t seen = free_.load(std::memory_order_acquire);
    do {
        words(table)[0].store(table_of(seen), std::memory_order_relaxed);
    } while (!free_.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | table,
                                          std::memory_order_acq_rel));
}

void piece_tables::begin(reservation& area, std::uint32_t table) noexcept {
    std::atomic_thread_fence(std::memory_order_release);
    builder b(words(table));
    b.add(0, described(piece_kind::placeholder, area.protect.load(std::memory_order_relaxed)));
    static_cast<void>(b.finish());
    area.tag.store(table, std::memory_order_release);
}

void piece_tables::end(reservation& area) noexcept {
    give(table_of(area.tag.exchange(0, std::memory_order_acq_rel)));
}

bool piece_tables::find(const reservation& area, std::uint32_t life, address at,
                        piece& out) const noexcept {
    for (;;) {
        const std::uint64_t tag = area.tag.load(std::memory_order_acquire);
        const range whole = area.where();
        std::atomic_thread_fence(std::memory_order_acquire);
        if (area.life.load(std::memory_order_relaxed) != life || table_of(tag) == 0) {
            return false; // so the tag may be anybody's
        }
        const word* const table = words(table_of(tag));
        const page_count wanted = pages_of(at - whole.begin);
        const std::uint64_t count = table[0].load(std::memory_order_relaxed);
        std::uint32_t low = 0;
        std::uint32_t high =
            static_cast<std::uint32_t>(count < most_pieces ? count : std::uint64_t{most_pieces});
        const std::uint32_t all = high;
        while (high - low > 1) {
            const std::uint32_t middle = (low + high) / 2;
            const bool above = table[first_of(middle)].load(std::memory_order_relaxed) > wanted;
            (above ? high : low) = middle;
        }
        const page_count first = table[first_of(low)].load(std::memory_order_relaxed);
        const std::uint64_t description = table[first_of(low) + 1].load(std::memory_order_relaxed);
        const page_count next = low + 1 < all
                                    ? table[first_of(low + 1)].load(std::memory_order_relaxed)
                                    : pages_of(whole.size());
        std::atomic_thread_fence(std::memory_order_acquire);
        if (area.tag.load(std::memory_order_relaxed) == tag) {
            out.where = {whole.begin + bytes_of(first), whole.begin + bytes_of(next)};
            out.kind = kind_in(description);
            out.protect = static_cast<std::uint32_t>(description);
            return true;
        }
    }
}

bool piece_tables::set(reservation& area, const piece& now, std::uint32_t table) noexcept {
    const range whole = area.where();
    const page_count begin = pages_of(now.where.begin - whole.begin);
    const page_count end = pages_of(now.where.end - whole.begin);
    std::uint64_t tag = area.tag.load(std::memory_order_acquire);
    for (;;) {
        const word* const old = words(table_of(tag));
        const std::uint64_t told = old[0].load(std::memory_order_relaxed);
        const auto count =
            static_cast<std::uint32_t>(told < most_pieces ? told : std::uint64_t{most_pieces});
        std::atomic_thread_fence(std::memory_order_release); // after the swap that freed `table`
        builder b(words(table));
        bool added = false;
        for (std::uint32_t i = 0; i < count; ++i) {
            const page_count first = old[first_of(i)].load(std::memory_order_relaxed);
            const std::uint64_t description = old[first_of(i) + 1].load(std::memory_order_relaxed);
            const page_count last = i + 1 < count
                                        ? old[first_of(i + 1)].load(std::memory_order_relaxed)
                                        : pages_of(whole.size());
            if (first < begin || first >= end) {
                b.add(first, description);
            }
            if (!added && last > begin) {
                b.add(begin, described(now.kind, now.protect));
                added = true;
            }
            if (first < end && last > end) {
                b.add(end, description);
            }
        }
        const bool fits = b.finish();
        const std::uint64_t next = ((tag >> 32) + 1) << 32 | table;
        if (!fits && area.tag.load(std::memory_order_acquire) == tag) {
            return false;
        }
        if (fits && area.tag.compare_exchange_strong(tag, next, std::memory_order_acq_rel)) {
            give(table_of(tag));
            return true;
        }
        tag = area.tag.load(std::memory_order_acquire);
    }
}

} // namespace memreeve::vm
