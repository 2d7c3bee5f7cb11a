// SPDX-License-Identifier: MIT
#include "com/host_memory_manager.hpp"

#include "com/clr_callback.hpp"
#include "com/critical_level.hpp"
#include "com/host_malloc.hpp"
#include "com/hresult.hpp"
#include "manager/thread_owner.hpp"

#include <cstddef>
#include <cstdint>

namespace memreeve::com {

namespace {

using telemetry::request_kind;

address address_of(const void* p) noexcept { return reinterpret_cast<address>(p); }
void* pointer_to(address a) noexcept { return reinterpret_cast<void*>(a); }

HRESULT translated(const result<void>& r) noexcept { return r ? S_OK : to_hresult(r.error()); }

// Field by field, the padding zero: the buffer may be unaligned, and a structure filled so and then
// copied stalls the copy.
[[gnu::always_inline]] inline void write_answer(void* buffer,
                                                const manager::region_info& r) noexcept {
    using out = MEMORY_BASIC_INFORMATION;
    static_assert(sizeof(out) == 48);
    auto* const bytes = static_cast<unsigned char*>(buffer);
    const auto put = [bytes](std::size_t at, auto value) noexcept {
        __builtin_memcpy(bytes + at, &value, sizeof value);
    };
    put(offsetof(out, BaseAddress), std::uint64_t{r.base});
    put(offsetof(out, AllocationBase), std::uint64_t{r.allocation_base});
    put(offsetof(out, AllocationProtect), std::uint64_t{r.allocation_protect});
    put(offsetof(out, RegionSize), std::uint64_t{r.size});
    put(offsetof(out, State), r.state);
    put(offsetof(out, Protect), r.protect);
    put(offsetof(out, Type), std::uint64_t{r.type});
}

} // namespace

owner_id host_memory_manager::owner() const noexcept {
    return manager::thread_owner(manager_, who_);
}

void host_memory_manager::count(request_kind kind) noexcept {
    telemetry::count_request(manager_.image(), kind);
}

HRESULT host_memory_manager::CreateMalloc(DWORD dwMallocType, IHostMalloc** ppMalloc) noexcept {
    if (ppMalloc == nullptr) {
        return E_POINTER;
    }
    *ppMalloc = nullptr;
    if ((dwMallocType & ~DWORD{MALLOC_THREADSAFE | MALLOC_EXECUTABLE}) != 0) {
        return E_INVALIDARG;
    }
    manager::record_pool& records = records_ != nullptr ? *records_ : manager::process_records();
    const auto made = host_malloc::create(*this, records, (dwMallocType & MALLOC_THREADSAFE) != 0,
                                          (dwMallocType & MALLOC_EXECUTABLE) != 0);
    if (!made) {
        return to_hresult(made.error());
    }
    *ppMalloc = *made;
    return S_OK;
}

HRESULT host_memory_manager::VirtualAlloc(void* pAddress, SIZE_T dwSize, DWORD flAllocationType,
                                          DWORD flProtect, EMemoryCriticalLevel eCriticalLevel,
                                          void** ppMem) noexcept {
    if (ppMem == nullptr) {
        return E_POINTER;
    }
    *ppMem = nullptr;
    count(request_kind::virtual_alloc);
    const auto level = decode_level(eCriticalLevel, manager_.settings().strict_levels);
    if (!level) {
        return to_hresult(level.error());
    }
    const auto got = manager_.virtual_alloc(owner(), address_of(pAddress), dwSize, flAllocationType,
                                            flProtect, *level);
    if (!got) {
        return to_hresult(got.error());
    }
    *ppMem = pointer_to(*got);
    return S_OK;
}

HRESULT host_memory_manager::VirtualFree(LPVOID lpAddress, SIZE_T dwSize,
                                         DWORD dwFreeType) noexcept {
    count(request_kind::virtual_free);
    return translated(manager_.virtual_free(address_of(lpAddress), dwSize, dwFreeType));
}

HRESULT host_memory_manager::VirtualQuery(void* lpAddress, void* lpBuffer, SIZE_T dwLength,
                                          SIZE_T* pResult) noexcept {
    if (pResult == nullptr) {
        return E_POINTER;
    }
    *pResult = 0;
    count(request_kind::virtual_query);
    if (dwLength < sizeof(MEMORY_BASIC_INFORMATION)) {
        return to_hresult(errc::bad_length); // Q1, before everything else
    }
    if (lpBuffer == nullptr) {
        return to_hresult(errc::no_access); // Q2
    }
    manager::region_info ours;
    if (manager_.query_ours(address_of(lpAddress), ours)) {
        write_answer(lpBuffer, ours);
    } else {
        const auto region = manager_.query_closely(address_of(lpAddress));
        if (!region) {
            return to_hresult(region.error());
        }
        write_answer(lpBuffer, *region);
    }
    *pResult = sizeof(MEMORY_BASIC_INFORMATION);
    return S_OK;
}

HRESULT host_memory_manager::VirtualProtect(void* lpAddress, SIZE_T dwSize, DWORD flNewProtect,
                                            DWORD* pflOldProtect) noexcept {
    if (pflOldProtect != nullptr) {
        *pflOldProtect = 0;
    }
    count(request_kind::virtual_protect);
    const auto old = manager_.virtual_protect(address_of(lpAddress), dwSize, flNewProtect,
                                              pflOldProtect != nullptr);
    if (!old) {
        return to_hresult(old.error());
    }
    *pflOldProtect = *old;
    return S_OK;
}

HRESULT host_memory_manager::GetMemoryLoad(DWORD* pMemoryLoad, SIZE_T* pAvailableBytes) noexcept {
    if (pMemoryLoad != nullptr) {
        *pMemoryLoad = 0;
    }
    if (pAvailableBytes != nullptr) {
        *pAvailableBytes = 0;
    }
    if (pMemoryLoad == nullptr || pAvailableBytes == nullptr) {
        return E_POINTER;
    }
    const auto load = manager_.load(owner());
    if (!load) {
        return to_hresult(load.error());
    }
    *pMemoryLoad = load->percent;
    *pAvailableBytes = load->available;
    return S_OK;
}

void host_memory_manager::end_registration(manager::subscription_id id) noexcept {
    if (void* const callback = notices_->unsubscribe(id)) {
        static_cast<ICLRMemoryNotificationCallback*>(callback)->Release();
    }
}

HRESULT host_memory_manager::RegisterMemoryNotificationCallback(
    ICLRMemoryNotificationCallback* pCallback) noexcept {
    constexpr auto none = manager::subscription_id::none;
    if (pCallback == nullptr) {
        if (notices_ != nullptr) {
            end_registration(registration_.exchange(none, std::memory_order_acq_rel));
            notices_->await_calls(this); // one that ended or replaced itself may still run
        }
        return S_OK;
    }
    if (notices_ == nullptr) {
        return to_hresult(errc::not_supported);
    }
    pCallback->AddRef(); // before the old one's Release: it may be the same (D18)
    const auto next = notices_->prepare(who_, &tell_clr, pCallback, this);
    if (!next) {
        pCallback->Release();
        return to_hresult(next.error());
    }
    // Named before it goes live: a callback that ends its registration finds it.
    end_registration(registration_.exchange(*next, std::memory_order_acq_rel));
    notices_->go_live(*next);
    return S_OK;
}

HRESULT host_memory_manager::NeedsVirtualAddressSpace(LPVOID startAddress, SIZE_T size) noexcept {
    count(request_kind::needs);
    return translated(manager_.needs_address_space(address_of(startAddress), size));
}

HRESULT host_memory_manager::AcquiredVirtualAddressSpace(LPVOID startAddress,
                                                         SIZE_T size) noexcept {
    count(request_kind::acquired);
    return translated(manager_.acquired(owner(), address_of(startAddress), size));
}

HRESULT host_memory_manager::ReleasedVirtualAddressSpace(LPVOID startAddress) noexcept {
    count(request_kind::released);
    manager_.released(address_of(startAddress));
    return S_OK;
}

void host_memory_manager::on_last_release() noexcept {
    if (notices_ != nullptr) {
        end_registration(
            registration_.exchange(manager::subscription_id::none, std::memory_order_acq_rel));
    }
    const home storage = home_;
    if (storage.take_back != nullptr) {
        storage.take_back(storage.context, this);
    }
}

} // namespace memreeve::com
