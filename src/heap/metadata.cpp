// SPDX-License-Identifier: MIT
#include "heap/metadata.hpp"

namespace memreeve::heap {

result<std::uint32_t> metadata::append(std::uint32_t units, criticality level) noexcept {
    std::uint32_t seen = next_.load(std::memory_order_relaxed);
    for (;;) {
        std::uint32_t chunk = chunk_of(seen);
        std::uint32_t begin = seen;
        if (begin + units > start_of(chunk + 1)) {
            begin = start_of(++chunk); // a record does not straddle two chunks
        }
        if (chunk >= chunk_limit) {
            return errc::out_of_address_space;
        }
        if (chunks_[chunk].load(std::memory_order_acquire) == 0) {
            const byte_count size = byte_count{first_chunk_units} << chunk << 6;
            const result<taken> got =
                source_->take({.size = size, .guard = records_guard, .tag = tag_, .level = level});
            if (!got) {
                return got.error();
            }
            address none = 0;
            if (chunks_[chunk].compare_exchange_strong(none, got->pages,
                                                       std::memory_order_acq_rel)) {
                pages_.fetch_add(pages_of(size), std::memory_order_relaxed);
            } else {
                source_->give_back(got->begin);
            }
        }
        if (next_.compare_exchange_weak(seen, begin + units, std::memory_order_acq_rel,
                                        std::memory_order_relaxed)) {
            return begin;
        }
    }
}

void metadata::give_back() noexcept {
    for (std::uint32_t k = 1; k < chunk_limit; ++k) {
        if (const address chunk = chunks_[k].exchange(0, std::memory_order_acq_rel); chunk != 0) {
            source_->give_back(chunk - records_guard);
        }
    }
    pages_.store(0, std::memory_order_relaxed);
}

} // namespace memreeve::heap
