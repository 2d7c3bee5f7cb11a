// SPDX-License-Identifier: MIT
#include "manager/record_pool.hpp"

#include "prim/prim.hpp"

namespace memreeve::manager {

namespace {

constexpr std::size_t stride = record_pool::record_size + 16;
constexpr std::uint64_t address_mask = (std::uint64_t{1} << 48) - 1;
static_assert(record_pool::chunk_size % stride == 0);

std::atomic<std::uint64_t>& link_at(std::uint64_t at) noexcept {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(at);
}

// At the place of a chunk's first record.
struct header {
    std::atomic<std::uint64_t> before;     // the chunk made before this one, 0: none
    std::atomic<std::uint64_t> handed_out; // records
};
constexpr std::uint64_t records_of_chunk = record_pool::chunk_size / stride - 1;

header& header_of(std::uint64_t chunk) noexcept { return *reinterpret_cast<header*>(chunk); }

constinit record_pool shared_pool;

} // namespace

record_pool& process_records() noexcept { return shared_pool; }

void record_pool::push(std::uint64_t record) noexcept {
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
        link_at(record).store(head & address_mask, std::memory_order_relaxed);
        next = ((head >> 48) + 1) << 48 | record;
    } while (!head_.compare_exchange_weak(head, next, std::memory_order_release,
                                          std::memory_order_relaxed));
}

// A new chunk, unless there is another than the `full` one by now.
bool record_pool::grow(std::uint64_t full) noexcept {
    address chunk = 0;
    if (prim::map_records(chunk_size, &chunk) != 0) {
        return false;
    }
    header_of(chunk).before.store(full, std::memory_order_relaxed);
    if (!chunks_.compare_exchange_strong(full, chunk, std::memory_order_acq_rel)) {
        prim::unmap(chunk, chunk_size);
    }
    return true;
}

std::uint64_t record_pool::take_fresh(std::uint64_t chunk) noexcept {
    std::atomic<std::uint64_t>& handed_out = header_of(chunk).handed_out;
    std::uint64_t n = handed_out.load(std::memory_order_relaxed);
    while (n < records_of_chunk) {
        if (handed_out.compare_exchange_weak(n, n + 1, std::memory_order_relaxed)) {
            return chunk + (n + 1) * stride;
        }
    }
    return 0;
}

void* record_pool::take() noexcept {
    std::uint64_t head = head_.load(std::memory_order_acquire);
    for (;;) {
        const std::uint64_t record = head & address_mask;
        if (record == 0) {
            const std::uint64_t chunk = chunks_.load(std::memory_order_acquire);
            const std::uint64_t fresh = chunk != 0 ? take_fresh(chunk) : 0;
            if (fresh != 0) {
                return reinterpret_cast<void*>(fresh + 16);
            }
            if (!grow(chunk)) {
                return nullptr;
            }
            head = head_.load(std::memory_order_acquire);
            continue;
        }
        const std::uint64_t next =
            ((head >> 48) + 1) << 48 | link_at(record).load(std::memory_order_relaxed);
        if (head_.compare_exchange_weak(head, next, std::memory_order_acquire)) {
            return reinterpret_cast<void*>(record + 16);
        }
    }
}

void record_pool::give_back(void* record) noexcept {
    push(reinterpret_cast<std::uint64_t>(record) - 16);
}

void record_pool::lend(storage& record) noexcept {
    push(reinterpret_cast<std::uint64_t>(record.bytes));
}

void record_pool::close() noexcept {
    head_.store(0, std::memory_order_relaxed);
    std::uint64_t chunk = chunks_.exchange(0, std::memory_order_acquire);
    while (chunk != 0) {
        const std::uint64_t before = header_of(chunk).before.load(std::memory_order_relaxed);
        prim::unmap(chunk, chunk_size);
        chunk = before;
    }
}

} // namespace memreeve::manager
