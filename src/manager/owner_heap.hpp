// SPDX-License-Identifier: MIT
// A heap over the pages of one owner: what IHostMalloc needs, put together. Heap pages are charged
// like all others because the page source is the manager.
#pragma once

#include "heap/heap.hpp"
#include "manager/manager.hpp"
#include "manager/misuse_report.hpp"
#include "manager/pages.hpp"
#include "prim/prim.hpp"

namespace memreeve::manager {

class owner_heap {
public:
    owner_heap(manager& m, owner_id who) noexcept : manager_(m), who_(who), pages_(m, who) {}
    owner_heap(const owner_heap&) = delete;
    owner_heap& operator=(const owner_heap&) = delete;

    // Once, before anything else. Errors: out_of_address_space, over_budget, forbidden.
    result<void> open(bool thread_safe, bool executable) noexcept {
        const auto made = heap::heap::create(pages_, {.thread_safe = thread_safe,
                                                      .executable = executable,
                                                      .single_threaded = prim::single_thread_flag(),
                                                      .listener = {&tell, this}});
        if (!made) {
            return made.error();
        }
        heap_ = *made;
        door_ = heap_->quick_door();
        return {};
    }
    // Gives back every page. Nobody may be inside.
    void close() noexcept {
        heap_->destroy();
        static_cast<void>(pages_.trim());
    }

    // In the only thread of a fork's child, once the manager has settled: what follows is charged to
    // `who` and counted in the child's record.
    void change_owner(owner_id who) noexcept {
        who_ = who;
        pages_.change_owner(who);
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
    // For heap::take_quickly and heap::keep_quickly; what they do not do comes here.
    const heap::door& quick_door() const noexcept { return door_; }
    result<address> allocate_after(heap::attempt a, byte_count size, criticality level) noexcept {
        return heap_->allocate_after(a, size, level);
    }
    result<address> allocate_otherwise(byte_count size, criticality level) noexcept {
        return heap_->allocate_otherwise(size, level);
    }
    result<address> allocate_debug_otherwise(byte_count size, criticality level, const char* file,
                                             int line) noexcept {
        return heap_->allocate_debug_otherwise(size, level, file, line);
    }
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
    bool owns(address where) noexcept { return heap_->owns(where) || pages_.is_ours(where); }
    byte_count size_of(address block) noexcept { return heap_->size_of(block); }
    heap::heap_stats stats() noexcept { return heap_->stats(); }
    byte_count trim() noexcept { return heap_->trim(); }
    void tell_requests() noexcept { heap_->tell_requests(); }
    bool origin_of(address block, const char** file, int* line) noexcept {
        return heap_->origin_of(block, file, line);
    }
    heap::misuse explain(address where) noexcept { return heap_->explain(where); }
    // One line on it.
    void report(const char* call, const heap::misuse& m) noexcept {
        report_misuse(manager_, who_, call, m);
    }
    bool list_live(bool (*visit)(void* context, const heap::live_block& b) noexcept,
                   void* context) noexcept {
        return heap_->list_live(visit, context);
    }
    owner_id owner() const noexcept { return who_; }
    std::uint32_t number() const noexcept { return heap_->number(); }

private:
    static void tell(void* self, const heap::misuse& m) noexcept {
        static_cast<owner_heap*>(self)->report("IHostMalloc::DebugAlloc", m);
    }

    manager& manager_;
    owner_id who_;
    manager_pages pages_;
    heap::heap* heap_ = nullptr;
    heap::door door_{};
};

} // namespace memreeve::manager
