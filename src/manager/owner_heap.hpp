// SPDX-License-Identifier: MIT
// A heap over the pages of one owner: what IHostMalloc needs, put together. Heap pages are charged
// like all others because the page source is the manager.
#pragma once

#include "heap/heap.hpp"
#include "manager/manager.hpp"
#include "prim/prim.hpp"

#include <new>

namespace memreeve::manager {

class owner_heap {
public:
    owner_heap(manager& m, owner_id who) noexcept : manager_(m), who_(who) {}
    owner_heap(const owner_heap&) = delete;
    owner_heap& operator=(const owner_heap&) = delete;

    // Once, before anything else. Errors: out_of_address_space, over_budget, forbidden.
    result<void> open(bool thread_safe, bool executable) noexcept {
        heap_seat* const found = manager_.heaps().claim();
        seat_ = found != nullptr ? found : &spare_;
        new (&seat_->pages) manager_pages(manager_, who_);
        const auto made =
            heap::heap::create(seat_->pages, {thread_safe, executable, prim::single_thread_flag()});
        if (!made) {
            living_heaps::give_up(*seat_);
            return made.error();
        }
        heap_ = seat_->heap = *made;
        living_heaps::go_live(*seat_);
        return {};
    }
    // Gives back every page. Nobody may be inside.
    void close() noexcept { living_heaps::close(*seat_); }

    // In the only thread of a fork's child, once the manager has settled: what follows is charged to
    // `who` and counted in the child's record.
    void change_owner(owner_id who) noexcept {
        seat_->pages.change_owner(who);
        heap_->settle_after_fork();
    }

    // As heap::heap has them.
    result<address> allocate(byte_count size, criticality level) noexcept {
        return heap_->allocate(size, level);
    }
    result<address> allocate_debug(byte_count size, criticality level, const char* file,
                                   int line) noexcept {
        return heap_->allocate_debug(size, level, file, line);
    }
    address allocate_quickly(byte_count size) noexcept { return heap_->allocate_quickly(size); }
    result<address> allocate_otherwise(byte_count size, criticality level) noexcept {
        return heap_->allocate_otherwise(size, level);
    }
    bool free_quickly(address block) noexcept { return heap_->free_quickly(block); }
    result<void> free_otherwise(address block) noexcept { return heap_->free_otherwise(block); }
    result<address> allocate_zeroed(byte_count size, criticality level) noexcept {
        return heap_->allocate_zeroed(size, level);
    }
    result<address> allocate_aligned(byte_count size, byte_count alignment,
                                     criticality level) noexcept {
        return heap_->allocate_aligned(size, alignment, level);
    }
    result<address> resize(address block, byte_count new_size, criticality level) noexcept {
        return heap_->resize(block, new_size, level);
    }
    result<void> free(address block) noexcept { return heap_->free(block); }
    // Also where a range of the heap was, or may come to be: what lies there is no other heap's block.
    bool owns(address where) noexcept { return heap_->owns(where) || seat_->pages.is_ours(where); }
    byte_count size_of(address block) noexcept { return heap_->size_of(block); }
    heap::heap_stats stats() noexcept { return heap_->stats(); }
    byte_count trim() noexcept { return heap_->trim(); }
    bool origin_of(address block, const char** file, int* line) noexcept {
        return heap_->origin_of(block, file, line);
    }

private:
    manager& manager_;
    owner_id who_;
    heap_seat spare_{}; // where the table of seats has none
    heap_seat* seat_ = nullptr;
    heap::heap* heap_ = nullptr;
};

} // namespace memreeve::manager
