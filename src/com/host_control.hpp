// SPDX-License-Identifier: MIT
// IHostControl that answers with one owner's memory manager. Everything else is the embedder's
// (another IHostControl given to it) or not hosted.
#pragma once

#include "com/host_memory_manager.hpp"

namespace memreeve::com {

class host_control final : public com_object<host_control, IHostControl> {
public:
    // Counts one more reference to `manager` and to `others`, which may be null.
    host_control(host_memory_manager& manager, IHostControl* others, home storage) noexcept;

    HRESULT STDMETHODCALLTYPE GetHostManager(REFIID riid, void** ppObject) noexcept override;
    HRESULT STDMETHODCALLTYPE SetAppDomainManager(DWORD dwAppDomainID,
                                                  IUnknown* pUnkAppDomainManager) noexcept override;
    void on_last_release() noexcept;

private:
    host_memory_manager& manager_;
    IHostControl* others_;
    home home_;
};

} // namespace memreeve::com
