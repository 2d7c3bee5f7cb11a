// SPDX-License-Identifier: MIT
// Encodings of the entries, and the templates over them.
#pragma once

namespace memreeve::vm {

namespace map_detail {

// Upper word:  kind:2 code:4 claimed:1 inherited:1 reservation:24 version:32
//              a node has its record index in place of the version.
enum class kind : std::uint64_t { empty = 0, uniform = 1, node = 2 };

inline constexpr unsigned level_shift[4] = {36, 28, 21, 16};
inline constexpr unsigned level_bits[4] = {11, 8, 7, 5};

constexpr byte_count span_at(unsigned level) noexcept {
    return byte_count{1} << level_shift[level];
}
constexpr std::uint32_t entries_at(unsigned level) noexcept { return 1U << level_bits[level]; }
constexpr std::uint32_t slot_of(address a, unsigned level) noexcept {
    return static_cast<std::uint32_t>(a >> level_shift[level]) & (entries_at(level) - 1);
}
constexpr std::uint32_t units_at(unsigned level) noexcept {
    return level == 1 ? 4 : level == 2 ? 2 : 1;
}

constexpr kind kind_of(std::uint64_t w) noexcept { return static_cast<kind>(w & 3); }
constexpr page_code code_of(std::uint64_t w) noexcept {
    return static_cast<page_code>(w >> 2 & 15);
}
constexpr std::uint64_t claimed_bit = 1U << 6;
constexpr std::uint64_t inherited_bit = 1U << 7;
constexpr std::uint32_t owner_of(std::uint64_t w) noexcept {
    return static_cast<std::uint32_t>(w >> 8) & 0xffffff;
}
constexpr std::uint32_t version_of(std::uint64_t w) noexcept {
    return static_cast<std::uint32_t>(w >> 32);
}
constexpr std::uint64_t empty_word(std::uint32_t version) noexcept {
    return std::uint64_t{version} << 32;
}
constexpr std::uint64_t uniform_word(std::uint32_t index, page_code code,
                                     std::uint32_t version) noexcept {
    return 1 | static_cast<std::uint64_t>(code) << 2 | std::uint64_t{index} << 8 |
           std::uint64_t{version} << 32;
}
constexpr std::uint64_t node_word(std::uint32_t index) noexcept {
    return 2 | std::uint64_t{index} << 32;
}

// Leaf meta:  claims:16 inherited:16 reservation:24 version:8
constexpr std::uint64_t meta_word(std::uint32_t index, std::uint64_t version) noexcept {
    return std::uint64_t{index} << 32 | version << 56;
}
constexpr std::uint32_t meta_owner(std::uint64_t m) noexcept {
    return static_cast<std::uint32_t>(m >> 32) & 0xffffff;
}
constexpr std::uint64_t meta_claims(std::uint64_t m) noexcept { return m & 0xffff; }
constexpr std::uint64_t meta_inherited(std::uint64_t m) noexcept { return m >> 16 & 0xffff; }
constexpr std::uint64_t meta_version(std::uint64_t m) noexcept { return m >> 56; }

constexpr page_code code_at(std::uint64_t codes, unsigned page) noexcept {
    return static_cast<page_code>(codes >> (page * 4) & 15);
}
// 16 bits, one for each page of `part` inside the granule that starts at `granule`.
constexpr std::uint64_t page_mask(range part, address granule) noexcept {
    const unsigned first = static_cast<unsigned>((part.begin - granule) >> page_shift);
    const unsigned last = static_cast<unsigned>((part.end - granule) >> page_shift);
    return ((std::uint64_t{1} << last) - 1) & ~((std::uint64_t{1} << first) - 1);
}
// Each set bit becomes four.
constexpr std::uint64_t spread(std::uint64_t mask) noexcept {
    std::uint64_t x = mask;
    x = (x | x << 24) & 0x000000ff000000ffULL;
    x = (x | x << 12) & 0x000f000f000f000fULL;
    x = (x | x << 6) & 0x0303030303030303ULL;
    x = (x | x << 3) & 0x1111111111111111ULL;
    return x * 15;
}
constexpr std::uint64_t pattern(page_code code) noexcept {
    return 0x1111111111111111ULL * static_cast<std::uint64_t>(code);
}
static_assert(spread(0x8001) == 0xf00000000000000fULL);

constexpr range clip(range a, range b) noexcept {
    return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

} // namespace map_detail

template <class F>
void region_map::for_each_run(range where, F&& f) const noexcept {
    using namespace map_detail;
    range run{where.begin, where.begin};
    page_code run_code = page_code::outside;
    bool run_inherited = false;
    const auto add = [&](range part, page_code code, bool inherited) {
        if (!run.is_empty() && (code != run_code || inherited != run_inherited)) {
            f(run, run_code, run_inherited);
            run.begin = part.begin;
        }
        run.end = part.end;
        run_code = code;
        run_inherited = inherited;
    };
    for (address a = where.begin; a < where.end;) {
        const cursor c = descend(a);
        const range part = clip(c.span, where);
        if (c.leaf == nullptr) {
            const std::uint64_t w = c.upper->load(std::memory_order_acquire);
            add(part, code_of(w), (w & inherited_bit) != 0);
        } else {
            const std::uint64_t codes = c.leaf->codes.load(std::memory_order_acquire);
            const std::uint64_t inherited =
                meta_inherited(c.leaf->meta.load(std::memory_order_acquire));
            for (address p = part.begin; p < part.end; p += page_size) {
                const auto page = static_cast<unsigned>((p - c.span.begin) >> page_shift);
                add({p, p + page_size}, code_at(codes, page), (inherited >> page & 1) != 0);
            }
        }
        a = part.end;
    }
    if (!run.is_empty()) {
        f(run, run_code, run_inherited);
    }
}

// Every entry below `words`, in ascending order: f(cursor).
template <class F>
void region_map::walk(word* words, unsigned level, address begin, F& f) const noexcept {
    using namespace map_detail;
    for (std::uint32_t i = 0; i < entries_at(level); ++i) {
        const address at = begin + i * span_at(level);
        const range span{at, at + span_at(level)};
        if (level == 3) {
            cursor c;
            c.leaf = reinterpret_cast<leaf_entry*>(words) + i;
            c.level = 3;
            c.span = span;
            f(c);
            continue;
        }
        const std::uint64_t w = words[i].load(std::memory_order_acquire);
        if (kind_of(w) == kind::node) {
            walk(node_words(w), level + 1, at, f);
        } else if (kind_of(w) == kind::uniform) {
            cursor c;
            c.upper = &words[i];
            c.level = level;
            c.span = span;
            f(c);
        }
    }
}

template <class F>
void region_map::settle_after_fork(F&& f) noexcept {
    using namespace map_detail;
    const auto visit = [&](const cursor& c) {
        if (c.leaf == nullptr) {
            const std::uint64_t w = c.upper->load(std::memory_order_relaxed);
            f(c.span, owner_of(w), code_of(w), (w & claimed_bit) != 0);
            const std::uint64_t inherited = is_charged(code_of(w)) ? inherited_bit : 0;
            c.upper->store((w & ~claimed_bit) | inherited, std::memory_order_relaxed);
            return;
        }
        const std::uint64_t m = c.leaf->meta.load(std::memory_order_relaxed);
        const std::uint32_t index = meta_owner(m);
        if (index == 0) {
            return;
        }
        const std::uint64_t codes = c.leaf->codes.load(std::memory_order_relaxed);
        std::uint64_t inherited = 0;
        for (unsigned page = 0; page < pages_per_granule; ++page) {
            const page_code code = code_at(codes, page);
            if (code == page_code::outside) {
                continue;
            }
            const address at = c.span.begin + bytes_of(page);
            f(range{at, at + page_size}, index, code, (meta_claims(m) >> page & 1) != 0);
            inherited |= static_cast<std::uint64_t>(is_charged(code)) << page;
        }
        c.leaf->meta.store(meta_word(index, meta_version(m)) | inherited << 16,
                           std::memory_order_relaxed);
    };
    walk(root_, 0, 0, visit);
}

} // namespace memreeve::vm
