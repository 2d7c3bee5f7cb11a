// SPDX-License-Identifier: MIT
// IHostMemoryManager for one owner. Translates and decides nothing: null the out parameter, check
// pointers, decode, call the manager, translate the answer.
//
// Usable as constant-initialised static storage or placed in a record. A thread may be charged to
// another owner meanwhile (manager/thread_owner.hpp). Thread-safe; async-signal-safe but for
// CreateMalloc and RegisterMemoryNotificationCallback.
#pragma once

#include "com/com_object.hpp"
#include "manager/manager.hpp"
#include "manager/notifier.hpp"
#include "manager/record_pool.hpp"

namespace memreeve::com {

class host_memory_manager final : public com_object<host_memory_manager, IHostMemoryManager> {
public:
    // `m`, `notices` and `records` must outlive the object. Without `notices` no callback can be
    // registered (0x80070032); without `records` heaps take theirs from the process's pool.
    constexpr host_memory_manager(manager::manager& m, owner_id who,
                                  manager::notifier* notices = nullptr,
                                  manager::record_pool* records = nullptr,
                                  home storage = {}) noexcept
        : manager_(m), who_(who), notices_(notices), records_(records), home_(storage) {}

    HRESULT STDMETHODCALLTYPE CreateMalloc(DWORD dwMallocType,
                                           IHostMalloc** ppMalloc) noexcept override;
    HRESULT STDMETHODCALLTYPE VirtualAlloc(void* pAddress, SIZE_T dwSize, DWORD flAllocationType,
                                           DWORD flProtect, EMemoryCriticalLevel eCriticalLevel,
                                           void** ppMem) noexcept override;
    HRESULT STDMETHODCALLTYPE VirtualFree(LPVOID lpAddress, SIZE_T dwSize,
                                          DWORD dwFreeType) noexcept override;
    HRESULT STDMETHODCALLTYPE VirtualQuery(void* lpAddress, void* lpBuffer, SIZE_T dwLength,
                                           SIZE_T* pResult) noexcept override;
    HRESULT STDMETHODCALLTYPE VirtualProtect(void* lpAddress, SIZE_T dwSize, DWORD flNewProtect,
                                             DWORD* pflOldProtect) noexcept override;
    HRESULT STDMETHODCALLTYPE GetMemoryLoad(DWORD* pMemoryLoad,
                                            SIZE_T* pAvailableBytes) noexcept override;
    HRESULT STDMETHODCALLTYPE
    RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback* pCallback) noexcept override;
    HRESULT STDMETHODCALLTYPE NeedsVirtualAddressSpace(LPVOID startAddress,
                                                       SIZE_T size) noexcept override;
    HRESULT STDMETHODCALLTYPE AcquiredVirtualAddressSpace(LPVOID startAddress,
                                                          SIZE_T size) noexcept override;
    HRESULT STDMETHODCALLTYPE ReleasedVirtualAddressSpace(LPVOID startAddress) noexcept override;

    // Who is charged by this thread.
    owner_id owner() const noexcept;
    manager::manager& memory() noexcept { return manager_; }
    void on_last_release() noexcept;
    // One more request of this kind in the image's record.
    void count(telemetry::request_kind kind) noexcept;

private:
    void end_registration(manager::subscription_id id) noexcept;

    manager::manager& manager_;
    owner_id who_;
    manager::notifier* notices_;
    manager::record_pool* records_;
    home home_;
    std::atomic<manager::subscription_id> registration_{manager::subscription_id::none};
};

} // namespace memreeve::com
