// SPDX-License-Identifier: MIT
#include "com/host_control.hpp"

namespace memreeve::com {

host_control::host_control(host_memory_manager& manager, IHostControl* others,
                           home storage) noexcept
    : manager_(manager), others_(others), home_(storage) {
    manager_.AddRef();
    if (others_ != nullptr) {
        others_->AddRef();
    }
}

HRESULT host_control::GetHostManager(REFIID riid, void** ppObject) noexcept {
    if (ppObject == nullptr) {
        return E_POINTER;
    }
    *ppObject = nullptr;
    if (is_null_iid(riid)) {
        return E_INVALIDARG;
    }
    if (same_iid(riid, MRV_IID_IHostMemoryManager)) {
        return manager_.QueryInterface(riid, ppObject);
    }
    return others_ != nullptr ? others_->GetHostManager(riid, ppObject) : E_NOINTERFACE;
}

HRESULT host_control::SetAppDomainManager(DWORD dwAppDomainID,
                                          IUnknown* pUnkAppDomainManager) noexcept {
    return others_ != nullptr ? others_->SetAppDomainManager(dwAppDomainID, pUnkAppDomainManager)
                              : S_OK;
}

void host_control::on_last_release() noexcept {
    const home storage = home_;
    IHostControl* const others = others_;
    host_memory_manager& manager = manager_;
    if (storage.take_back != nullptr) {
        storage.take_back(storage.context, this);
    }
    if (others != nullptr) {
        others->Release();
    }
    manager.Release();
}

} // namespace memreeve::com
