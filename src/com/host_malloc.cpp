// SPDX-License-Identifier: MIT
#include "com/host_malloc.hpp"

#include "com/critical_level.hpp"
#include "com/hresult.hpp"

#include <cstddef>
#include <new>

namespace memreeve::com {

namespace {

address address_of(const void* p) noexcept { return reinterpret_cast<address>(p); }

} // namespace

struct host_malloc::entry {
    place where;
    alignas(host_malloc) unsigned char object[sizeof(host_malloc)];
};

result<host_malloc*> host_malloc::create(host_memory_manager& maker, manager::record_pool& records,
                                         bool thread_safe, bool executable) noexcept {
    static_assert(sizeof(entry) <= manager::record_pool::record_size);
    static_assert(offsetof(entry, where) == 0);
    manager::heap_registry& heaps = maker.memory().heaps();
    place* p = heaps.claim();
    if (p == nullptr) {
        void* const storage = records.take();
        if (storage == nullptr) {
            return errc::out_of_address_space;
        }
        p = &(new (storage) entry)->where;
        heaps.add(*p);
    }
    auto* const made = new (reinterpret_cast<entry*>(p)->object) host_malloc(maker, *p);
    if (auto opened = made->heap_.open(thread_safe, executable); !opened) {
        manager::heap_registry::vacate(*p);
        return opened.error();
    }
    p->heap = &made->heap_;
    p->end = &end;
    maker.AddRef();
    manager::heap_registry::open(*p);
    return made;
}

HRESULT host_malloc::Alloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                           void** ppMem) noexcept {
    if (ppMem == nullptr) {
        return E_POINTER;
    }
    // What the thread has at hand is given at any level.
    if (static_cast<unsigned>(eCriticalLevel) <= eProcessCritical) [[likely]] {
        address block = 0;
        const heap::attempt a = heap::take_quickly(heap_.quick_door(), cbSize, block);
        if (a == heap::attempt::done) [[likely]] {
            *ppMem = reinterpret_cast<void*>(block);
            return S_OK;
        }
        if (a == heap::attempt::came_up_empty) {
            return alloc_after_empty(cbSize, eCriticalLevel, ppMem);
        }
    }
    return alloc_otherwise(cbSize, eCriticalLevel, ppMem);
}

HRESULT host_malloc::alloc_after_empty(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                       void** ppMem) noexcept {
    heap::take_back(heap_.quick_door(), cbSize);
    return alloc_otherwise(cbSize, eCriticalLevel, ppMem);
}

HRESULT host_malloc::alloc_otherwise(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                     void** ppMem) noexcept {
    *ppMem = nullptr;
    const auto level = decode_level(eCriticalLevel, maker_.memory().settings().strict_levels);
    if (!level) {
        return to_hresult(level.error());
    }
    const auto block = heap_.allocate_otherwise(cbSize, *level);
    if (!block) {
        return to_hresult(block.error());
    }
    *ppMem = reinterpret_cast<void*>(*block);
    return S_OK;
}

HRESULT host_malloc::DebugAlloc(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                char* pszFileName, int iLineNo, void** ppMem) noexcept {
    if (static_cast<unsigned>(eCriticalLevel) <= eProcessCritical && ppMem != nullptr) [[likely]] {
        const address block =
            heap::take_debug_quickly(heap_.quick_door(), cbSize, pszFileName, iLineNo);
        if (block != 0) [[likely]] {
            *ppMem = reinterpret_cast<void*>(block);
            return S_OK;
        }
    }
    return debug_alloc_otherwise(cbSize, eCriticalLevel, pszFileName, iLineNo, ppMem);
}

HRESULT host_malloc::debug_alloc_otherwise(SIZE_T cbSize, EMemoryCriticalLevel eCriticalLevel,
                                           char* pszFileName, int iLineNo, void** ppMem) noexcept {
    if (ppMem == nullptr) {
        return E_POINTER;
    }
    *ppMem = nullptr;
    const auto level = decode_level(eCriticalLevel, maker_.memory().settings().strict_levels);
    if (!level) {
        return to_hresult(level.error());
    }
    const auto block = heap_.allocate_debug_otherwise(cbSize, *level, pszFileName, iLineNo);
    if (!block) {
        return to_hresult(block.error());
    }
    *ppMem = reinterpret_cast<void*>(*block);
    return S_OK;
}

HRESULT host_malloc::Free(void* pMem) noexcept {
    if (heap::keep_quickly(heap_.quick_door(), address_of(pMem))) [[likely]] {
        return S_OK;
    }
    return free_otherwise(pMem);
}

HRESULT host_malloc::free_otherwise(void* pMem) noexcept {
    return heap::keep_debug_quickly(heap_.quick_door(), address_of(pMem)) ? S_OK
                                                                          : free_slowly(pMem);
}

HRESULT host_malloc::free_slowly(void* pMem) noexcept {
    const auto done = heap_.free_otherwise(address_of(pMem));
    if (!done) {
        heap_.report("IHostMalloc::Free", heap_.explain(address_of(pMem)));
        return to_hresult(done.error());
    }
    return S_OK;
}

bool host_malloc::origin_of(void* block, const char** file, int* line) noexcept {
    return heap_.origin_of(address_of(block), file, line);
}

void host_malloc::on_last_release() noexcept { manager::heap_registry::leave(place_); }

void host_malloc::end(place& p) noexcept {
    auto& object = *reinterpret_cast<host_malloc*>(reinterpret_cast<entry*>(&p)->object);
    host_memory_manager& maker = object.maker_;
    object.heap_.close();
    manager::heap_registry::vacate(p);
    maker.Release();
}

} // namespace memreeve::com
