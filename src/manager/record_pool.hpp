// SPDX-License-Identifier: MIT
// Small records of fixed size for the edges (COM objects, handles), on pages of their own. Lock-free:
// a stack of free records whose head carries a counter against reuse between look and swap. A
// record's link lies before it, so that its contents are never read by a thread that lost a race.
// A chunk's records are handed out one after the other before they come to be on the stack: what was
// never used is never touched.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace memreeve::manager {

class record_pool {
public:
    static constexpr std::size_t record_size = 240; // usable bytes, 16-byte aligned
    static constexpr std::size_t chunk_size = 64 * 1024;

    constexpr record_pool() noexcept = default;
    record_pool(const record_pool&) = delete;
    record_pool& operator=(const record_pool&) = delete;

    // Null when the system has no memory left. Contents are unspecified.
    void* take() noexcept;
    void give_back(void* record) noexcept;
    // One more record, in storage that outlives the pool: a pool that needs no more maps nothing.
    struct storage {
        alignas(16) unsigned char bytes[record_size + 16];
    };
    void lend(storage& record) noexcept;
    // Unmaps every record. Nobody may be inside or hold one.
    void close() noexcept;

private:
    bool grow(std::uint64_t full) noexcept;
    std::uint64_t take_fresh(std::uint64_t chunk) noexcept;
    void push(std::uint64_t record) noexcept;

    std::atomic<std::uint64_t> head_{0};   // counter << 48 | address of a free record's link
    std::atomic<std::uint64_t> chunks_{0}; // newest chunk; see header in record_pool.cpp
};

// For objects that no host owns (the bridge's): lives as long as the process.
record_pool& process_records() noexcept;

} // namespace memreeve::manager
