// SPDX-License-Identifier: MIT
// A model of the one caller this interface ever had: the desktop CLR. Only what it is known to do
// (hosting-api sections 3.1, 3.2, 3.4, 3.5), with its own result tests: S_OK exactly here, SUCCEEDED
// there, out parameters used unchecked.
#pragma once

#include "support/test_host.hpp"

#include <cstring>

namespace memreeve::test {

class model_clr {
public:
    // SetHostControl, called by the embedder before Start (3.1).
    HRESULT set_host_control(IHostControl* control) {
        if (control == nullptr) {
            return E_INVALIDARG;
        }
        if (started_) {
            return E_ACCESSDENIED;
        }
        control->AddRef();
        control_ = control;
        if (manager_ == nullptr) {
            void* p = nullptr;
            // Anything but S_OK with a pointer silently means "not memory hosted".
            if (control->GetHostManager(IID_IHostMemoryManager, &p) == S_OK && p != nullptr) {
                auto* const manager = static_cast<IHostMemoryManager*>(p);
                if (manager->CreateMalloc(MALLOC_THREADSAFE, &heap_) != S_OK) {
                    manager->Release();
                    return E_UNEXPECTED;
                }
                manager_ = manager;
                manager->RegisterMemoryNotificationCallback(&callback); // result ignored
            }
        }
        // The other managers, in order; a memory host has none of them.
        static constexpr IID others[] = {
            {0x997FF24C, 0x43B7, 0x4352, {0x86, 0x67, 0x0D, 0xC0, 0x4F, 0xAF, 0xD3, 0x54}},
            {0x983D50E2, 0xCB15, 0x466B, {0x80, 0xFC, 0x84, 0x5D, 0xC6, 0xE8, 0xC5, 0xFD}},
        };
        for (const IID& iid : others) {
            void* p = nullptr;
            if (control->GetHostManager(iid, &p) == S_OK) {
                ++other_managers;
            }
        }
        return S_OK;
    }
    void start() { started_ = true; }
    bool is_memory_hosted() const { return manager_ != nullptr; }

    // ---- 3.2: the funnels ------------------------------------------------------------------------
    void* virtual_alloc(void* at, std::size_t size, DWORD type, DWORD protect) {
        void* p = nullptr;
        const HRESULT hr = manager_->VirtualAlloc(at, size, type, protect, level(), &p);
        return hr == S_OK ? p : nullptr;
    }
    bool virtual_free(void* at, std::size_t size, DWORD type) {
        return manager_->VirtualFree(at, size, type) == S_OK;
    }
    std::size_t virtual_query(const void* at, MEMORY_BASIC_INFORMATION* out) {
        std::size_t result = 12345; // not initialised by the real one
        const HRESULT hr = manager_->VirtualQuery(const_cast<void*>(at), out, sizeof *out, &result);
        return hr < 0 ? 0 : result;
    }
    bool virtual_protect(void* at, std::size_t size, DWORD protect, DWORD* old) {
        return manager_->VirtualProtect(at, size, protect, old) == S_OK;
    }
    void* heap_alloc(std::size_t size) {
        void* p = nullptr;
        return heap_->Alloc(size, level(), &p) == S_OK ? p : nullptr;
    }
    bool heap_free(void* p) { return heap_->Free(p) == S_OK; } // called for null as well

    // ---- 3.4: a file mapping that may fail once ----------------------------------------------------
    template <class Map>
    void* map_view(void* wanted, std::size_t size, Map map) {
        void* view = map();
        if (view == nullptr && manager_->NeedsVirtualAddressSpace(wanted, size) >= 0) {
            view = map();
        }
        if (view != nullptr) {
            manager_->AcquiredVirtualAddressSpace(view, size);
        }
        return view;
    }
    void unmapped(void* view) { manager_->ReleasedVirtualAddressSpace(view); }

    // ---- 3.5: what the collector reads --------------------------------------------------------------
    struct load {
        bool from_host = false;
        DWORD percent = 0;
        std::size_t available = 0;
    };
    load memory_load() {
        load l;
        l.from_host = manager_->GetMemoryLoad(&l.percent, &l.available) == S_OK;
        return l;
    }

    // The callback: a static whose count never moves and whose QueryInterface does not count; Low
    // raises a counter, anything else sets it to 0.
    class clr_callback final : public ICLRMemoryNotificationCallback {
    public:
        HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** out) override {
            const bool known =
                std::memcmp(&riid, &IID_IUnknown, sizeof riid) == 0 ||
                std::memcmp(&riid, &IID_ICLRMemoryNotificationCallback, sizeof riid) == 0;
            *out = known ? this : nullptr;
            return known ? S_OK : E_NOINTERFACE;
        }
        ULONG STDMETHODCALLTYPE AddRef() override { return 1; }
        ULONG STDMETHODCALLTYPE Release() override { return 1; }
        HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable level) override {
            if (level == eMemoryAvailableLow) {
                ++low_memory_from_host;
            } else {
                low_memory_from_host = 0;
            }
            ++calls;
            return S_OK;
        }
        std::atomic<int> low_memory_from_host{0};
        std::atomic<int> calls{0};
    };

    // Before the start everything is critical for the process; afterwards what the thread holds
    // decides.
    EMemoryCriticalLevel level() const {
        if (!started_ || holds_lock_in_default_domain) {
            return eProcessCritical;
        }
        return holds_lock_in_other_domain ? eAppDomainCritical : eTaskCritical;
    }

    clr_callback callback;
    int other_managers = 0;
    bool holds_lock_in_default_domain = false;
    bool holds_lock_in_other_domain = false;
    IHostMemoryManager* manager() const { return manager_; }
    // The real one never lets go; a test that wants to end its host does.
    void let_go() {
        manager_->RegisterMemoryNotificationCallback(nullptr);
        heap_->Release();
        manager_->Release();
        control_->Release();
        manager_ = nullptr;
    }

private:
    IHostControl* control_ = nullptr;
    IHostMemoryManager* manager_ = nullptr;
    IHostMalloc* heap_ = nullptr;
    bool started_ = false;
};

} // namespace memreeve::test
