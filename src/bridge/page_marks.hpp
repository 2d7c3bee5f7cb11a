// SPDX-License-Identifier: MIT
// Which pages of a file are charged, and to whom: a sparse radix tree with four bits a page.
//
//   level  entry spans  entries
//   0      8 TiB        the root, one word
//   1..3   64 GiB, 512 MiB, 4 MiB   128 entries of a node: empty | all pages alike | node
//   leaf   4 KiB        1024 marks of 4 bits
//
// What is charged as a whole costs a word for each entry it fills: a heap of gigabytes takes no leaf.
// Nodes come from one pool for all files and go back when a file is given up.
//
// Lock-free: a mark changes by compare-and-swap, and whoever changed it owns the difference. Every
// mark that says "charged" was paid for before it was set and is refunded after it was cleared.
// Pure: no system call; memory comes through a callback.
#pragma once

#include "base/units.hpp"

#include <atomic>
#include <cstdint>

namespace memreeve::bridge {

// Who pays for a page: 1 to 3, a place in the file's list of accounts; 0: nobody.
using payer = unsigned;
inline constexpr unsigned payer_count = 4;

// Fixed-size nodes in address space reserved beforehand. Zeroed when taken and when given back.
class node_pool {
public:
    // Makes [begin, begin + size) readable and writable; 0 or an errno. Idempotent.
    using grow_function = int (*)(address begin, byte_count size) noexcept;
    static constexpr byte_count node_size = 512;

    constexpr node_pool() noexcept = default;
    void open(address base, byte_count size, grow_function grow) noexcept;
    std::uint32_t take() noexcept; // 0: the memory has run out
    void give_back(std::uint32_t node) noexcept;
    void* at(std::uint32_t node) const noexcept {
        return reinterpret_cast<void*>(base_ + std::uint64_t{node} * node_size);
    }

private:
    address base_ = 0;
    byte_count size_ = 0;
    grow_function grow_ = nullptr;
    std::atomic<std::uint64_t> next_{1};
    std::atomic<byte_count> ready_{0};
    std::atomic<std::uint64_t> free_{0}; // counter << 32 | first free node
};

// A stretch of a file, in pages.
struct page_span {
    page_count begin = 0;
    page_count end = 0; // exclusive
    page_count size() const noexcept { return end > begin ? end - begin : 0; }
};
inline constexpr page_count file_pages_max = page_count{1} << 31; // 8 TiB

struct payer_pages {
    page_count of[payer_count]{};
};

class page_marks {
public:
    constexpr page_marks() noexcept = default;

    page_count count_free(const node_pool& pool, page_span where) const noexcept;
    // Marks at most `most` free pages as `who` pays, on trial. The number marked; less than that
    // when others were faster, or (`full`) when the pool has run out.
    page_count set(node_pool& pool, page_span where, payer who, page_count most,
                   bool& full) noexcept;
    // What is on trial stays.
    void keep(node_pool& pool, page_span where) noexcept;
    // What is on trial goes: how many pages of each payer.
    payer_pages undo(node_pool& pool, page_span where) noexcept;
    // Every page is free again: those that this process had paid for, by payer. What the pool has no
    // node for to tell apart stays charged.
    payer_pages clear(node_pool& pool, page_span where) noexcept;
    // After fork: what was charged stays the parent's, for ever.
    void inherit(node_pool& pool) noexcept;
    // Clears all and gives the nodes back. Nobody else may be inside.
    payer_pages give_up(node_pool& pool) noexcept;

private:
    std::atomic<std::uint32_t> root_{0};
};

} // namespace memreeve::bridge
