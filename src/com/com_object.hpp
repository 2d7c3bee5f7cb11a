// SPDX-License-Identifier: MIT
// What every COM object here shares: the reference count and QueryInterface over a list of
// interfaces. Objects are never on a heap: they lie in static storage or in a record somebody gave,
// and go back there after the last Release (`home`). The count begins at 1. Thread-safe.
#pragma once

#include <memreeve/host_interfaces.h>

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace memreeve::com {

// Where an object's storage goes after its last Release; null: it stays where it is.
struct home {
    void (*take_back)(void* context, void* storage) noexcept = nullptr;
    void* context = nullptr;
};

template <class Interface>
struct iid_of;
template <>
struct iid_of<IHostMemoryManager> {
    static constexpr const IID& value = MRV_IID_IHostMemoryManager;
};
template <>
struct iid_of<IHostMalloc> {
    static constexpr const IID& value = MRV_IID_IHostMalloc;
};
template <>
struct iid_of<IHostControl> {
    static constexpr const IID& value = MRV_IID_IHostControl;
};

inline bool same_iid(const IID& a, const IID& b) noexcept {
    static_assert(sizeof(IID) == 2 * sizeof(std::uint64_t));
    std::uint64_t x[2];
    std::uint64_t y[2];
    __builtin_memcpy(x, &a, sizeof x);
    __builtin_memcpy(y, &b, sizeof y);
    return x[0] == y[0] && x[1] == y[1];
}

// A C caller can pass a null IID; for the compiler a reference is never null, hence the fence.
inline bool is_null_iid(const IID& iid) noexcept {
    const void* p = &iid;
    __asm__("" : "+r"(p));
    return p == nullptr;
}

// `Derived` has on_last_release(), which ends what it holds and gives its storage back.
template <class Derived, class First, class... Rest>
class com_object : public First, public Rest... {
public:
    com_object(const com_object&) = delete;
    com_object& operator=(const com_object&) = delete;

    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** ppvObject) noexcept final {
        if (ppvObject == nullptr) {
            return E_POINTER;
        }
        *ppvObject = nullptr;
        if (is_null_iid(riid)) {
            return E_INVALIDARG;
        }
        if (same_iid(riid, MRV_IID_IUnknown)) {
            *ppvObject = static_cast<First*>(this);
        } else {
            answer<First>(riid, ppvObject);
            (answer<Rest>(riid, ppvObject), ...);
        }
        if (*ppvObject == nullptr) {
            return E_NOINTERFACE;
        }
        AddRef();
        return S_OK;
    }
    ULONG STDMETHODCALLTYPE AddRef() noexcept final {
        return references_.fetch_add(1, std::memory_order_relaxed) + 1;
    }
    ULONG STDMETHODCALLTYPE Release() noexcept final {
        const ULONG left = references_.fetch_sub(1, std::memory_order_acq_rel) - 1;
        if (left == 0) {
            static_cast<Derived*>(this)->on_last_release();
        }
        return left;
    }
    // Somebody else may change it the next moment.
    ULONG references() const noexcept { return references_.load(std::memory_order_acquire); }

protected:
    constexpr com_object() noexcept = default;
    ~com_object() = default;

private:
    template <class Interface>
    void answer(const IID& riid, void** out) noexcept {
        if (same_iid(riid, iid_of<Interface>::value)) {
            *out = static_cast<Interface*>(this);
        }
    }

    std::atomic<ULONG> references_{1};
};

} // namespace memreeve::com
