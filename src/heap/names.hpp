// SPDX-License-Identifier: MIT
// File names of DebugAlloc, kept once each: the caller's string may be gone after the call (D33,
// decision 17). Compared by contents, never by pointer. A name longer than name_limit keeps its end,
// which is the part that tells files apart. Lock-free, append only.
#pragma once

#include "heap/metadata.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::heap {

inline constexpr std::uint32_t name_limit = 1000; // bytes, without the NUL

class names {
public:
    // Unit + 1 of the kept name; 0 for a null pointer.
    result<std::uint32_t> keep(metadata& records, const char* name, criticality level) noexcept;
    static const char* text(const metadata& records, std::uint32_t kept) noexcept;

private:
    static constexpr std::uint32_t bucket_count = 64;
    std::atomic<std::uint32_t> buckets_[bucket_count]{}; // unit + 1 of the newest entry
};

} // namespace memreeve::heap
