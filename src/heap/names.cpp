// SPDX-License-Identifier: MIT
#include "heap/names.hpp"

namespace memreeve::heap {
namespace {

struct entry {
    std::uint32_t next; // unit + 1
    std::uint32_t hash;
    std::uint32_t length;
    char text[1]; // length + NUL, running on into the following units
};
constexpr std::uint32_t text_offset = offsetof(entry, text);

bool equal(const char* a, const char* b, std::uint32_t length) noexcept {
    return __builtin_memcmp(a, b, length) == 0;
}

} // namespace

result<std::uint32_t> names::keep(metadata& records, const char* name, criticality level) noexcept {
    if (name == nullptr) {
        return 0u;
    }
    std::size_t whole = 0;
    while (name[whole] != '\0') {
        ++whole;
    }
    const char* text = whole > name_limit ? name + (whole - name_limit) : name;
    const auto length = static_cast<std::uint32_t>(whole > name_limit ? name_limit : whole);
    std::uint32_t hash = 2166136261u;
    for (std::uint32_t i = 0; i < length; ++i) {
        hash = (hash ^ static_cast<unsigned char>(text[i])) * 16777619u;
    }

    std::atomic<std::uint32_t>& bucket = buckets_[hash % bucket_count];
    std::uint32_t first = bucket.load(std::memory_order_acquire);
    std::uint32_t searched_to = 0; // entries from here on are known not to match
    std::uint32_t fresh = 0;
    for (;;) {
        for (std::uint32_t i = first; i != searched_to;) {
            const auto* e = static_cast<const entry*>(records.at(i - 1));
            if (e->hash == hash && e->length == length &&
                equal(reinterpret_cast<const char*>(e) + text_offset, text, length)) {
                return i; // our own entry, if made, stays unused: two threads met on a new name
            }
            i = e->next;
        }
        searched_to = first;
        if (fresh == 0) {
            const std::uint32_t units = (text_offset + length + 1 + unit_size - 1) / unit_size;
            const result<std::uint32_t> unit = records.append(units, level);
            if (!unit) {
                return unit.error();
            }
            fresh = *unit + 1;
            auto* e = static_cast<entry*>(records.at(*unit));
            e->hash = hash;
            e->length = length;
            __builtin_memcpy(reinterpret_cast<char*>(e) + text_offset, text, length);
        }
        static_cast<entry*>(records.at(fresh - 1))->next = first;
        if (bucket.compare_exchange_strong(first, fresh, std::memory_order_acq_rel,
                                           std::memory_order_acquire)) {
            return fresh;
        }
    }
}

const char* names::text(const metadata& records, std::uint32_t kept) noexcept {
    return kept == 0 ? nullptr : static_cast<const char*>(records.at(kept - 1)) + text_offset;
}

} // namespace memreeve::heap
