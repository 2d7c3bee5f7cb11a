// SPDX-License-Identifier: MIT
// IHostMalloc: one heap of one owner. Holds a reference to the manager object that made it, so it
// may outlive every other one (D21). The last Release gives every page back.
#pragma once

#include "com/host_memory_manager.hpp"
#include "manager/owner_heap.hpp"

namespace memreeve::com {

class host_malloc final : public com_object<host_malloc, IHostMalloc> {
public:
    // Counts one more reference to `maker`. Placed where another heap of the manager's was, or in a
    // record of `records`, which then stays one for heaps.
    // Errors: out_of_address_space, over_budget, forbidden.
    static result<host_malloc*> create(host_memory_manager& maker, manager::record_pool& records,
                                       bool thread_safe, bool executable) noexcept;

    HRESULT STDMETHODCALLTYPE Alloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                    void** ppMem) noexcept override;
    HRESULT STDMETHODCALLTYPE DebugAlloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                         char* pszFileName, int iLineNo,
                                         void** ppMem) noexcept override;
    HRESULT STDMETHODCALLTYPE Free(void* pMem) noexcept override;

    // The heap itself, for what the interface has no method for (realloc, alignment, sizes).
    manager::owner_heap& blocks() noexcept { return heap_; }
    // What DebugAlloc kept of a living block; false for any other.
    bool origin_of(void* block, const char** file, int* line) noexcept;
    void on_last_release() noexcept;

private:
    using place = manager::heap_registry::place;
    struct entry; // a place in the manager's registry, and the object

    // Calls of their own, with the same arguments: so the quick way keeps nothing for them.
    [[gnu::noinline]] HRESULT alloc_otherwise(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                              void** ppMem) noexcept;
    [[gnu::noinline]] HRESULT alloc_after_empty(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                                void** ppMem) noexcept;
    [[gnu::noinline]] HRESULT debug_alloc_otherwise(SIZE_T cbSize,
                                                    EMemoryCriticalLevel eCriticalLevel,
                                                    char* pszFileName, int iLineNo,
                                                    void** ppMem) noexcept;
    [[gnu::noinline]] HRESULT free_otherwise(void* pMem) noexcept;
    [[gnu::noinline]] HRESULT free_slowly(void* pMem) noexcept;

    host_malloc(host_memory_manager& maker, place& p) noexcept
        : maker_(maker), place_(p), heap_(maker.memory(), maker.owner()) {}
    static void end(place& p) noexcept;

    host_memory_manager& maker_;
    place& place_;
    manager::owner_heap heap_;
};

} // namespace memreeve::com
