// SPDX-License-Identifier: MIT
// A host with one owner for tests of the edges, a runtime's callback that remembers, and counted
// pointers.
#pragma once

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace memreeve::test {

inline constexpr std::uint64_t mib = 1 << 20;
inline constexpr std::size_t page = 4096;

// Holds one reference.
template <class T>
class com_ptr {
public:
    com_ptr() = default;
    explicit com_ptr(T* p) : p_(p) {}
    com_ptr(com_ptr&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
    com_ptr& operator=(com_ptr&& other) noexcept {
        reset();
        p_ = std::exchange(other.p_, nullptr);
        return *this;
    }
    ~com_ptr() { reset(); }
    void reset() {
        if (p_ != nullptr) {
            std::exchange(p_, nullptr)->Release();
        }
    }
    T** out() {
        reset();
        return &p_;
    }
    T* get() const { return p_; }
    T* operator->() const { return p_; }
    explicit operator bool() const { return p_ != nullptr; }

private:
    T* p_ = nullptr;
};

// The runtime's side: remembers what it was told; `inside`, if set, runs in the call.
class recording_callback final : public ICLRMemoryNotificationCallback {
public:
    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void** out) override {
        *out = this;
        return S_OK;
    }
    ULONG STDMETHODCALLTYPE AddRef() override { return ++references; }
    ULONG STDMETHODCALLTYPE Release() override { return --references; }
    HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable level) override {
        ++running;
        {
            const std::lock_guard<std::mutex> hold(mutex_);
            told_.push_back(level);
            told_at_.push_back(std::chrono::steady_clock::now());
        }
        heard_.notify_all();
        if (inside) {
            inside(level);
        }
        --running;
        return answer;
    }
    std::vector<EMemoryAvailable> told() {
        const std::lock_guard<std::mutex> hold(mutex_);
        return told_;
    }
    // When the call of that number came, on the thread that made it.
    std::chrono::steady_clock::time_point told_at(std::size_t number) {
        const std::lock_guard<std::mutex> hold(mutex_);
        return told_at_.at(number);
    }
    // Waits until `count` calls have come.
    bool wait_for(std::size_t count,
                  std::chrono::milliseconds patience = std::chrono::seconds(10)) {
        std::unique_lock<std::mutex> hold(mutex_);
        return heard_.wait_for(hold, patience, [&] { return told_.size() >= count; });
    }

    std::atomic<ULONG> references{1};
    std::atomic<int> running{0};
    std::function<void(EMemoryAvailable)> inside;
    HRESULT answer = S_OK;

private:
    std::mutex mutex_;
    std::condition_variable heard_;
    std::vector<EMemoryAvailable> told_;
    std::vector<std::chrono::steady_clock::time_point> told_at_;
};

// Pressure from the budget alone, so that the machine the tests run on does not matter.
class host_test : public ::testing::Test {
protected:
    static mrv_host_options options_for(std::uint64_t limit, std::uint64_t reserve = 0) {
        mrv_host_options o{};
        o.size = sizeof o;
        o.limit_bytes = limit;
        o.reserve_bytes = reserve;
        o.pressure_source = MRV_PRESSURE_BUDGET;
        return o;
    }
    void open(const mrv_host_options& o, const mrv_owner_options* owner_options = nullptr) {
        ASSERT_EQ(mrv_host_create(&o, &host), MRV_OK);
        ASSERT_EQ(mrv_owner_create(host, nullptr, owner_options, &owner), MRV_OK);
        ASSERT_EQ(mrv_owner_memory_manager(owner, memory.out()), MRV_OK);
    }
    void close() {
        memory.reset();
        if (host != nullptr) {
            EXPECT_EQ(mrv_host_destroy(host), MRV_OK);
            host = nullptr;
        }
    }
    void TearDown() override { close(); }

    mrv_owner_figures figures(mrv_owner* of = nullptr) {
        mrv_owner_figures f{};
        f.size = sizeof f;
        EXPECT_EQ(mrv_owner_stats(of != nullptr ? of : owner, &f), MRV_OK);
        return f;
    }
    mrv_host_figures snapshot() {
        mrv_host_figures f{};
        f.size = sizeof f;
        EXPECT_EQ(mrv_host_snapshot(host, &f), MRV_OK);
        return f;
    }
    HRESULT alloc(std::size_t size, EMemoryCriticalLevel level, void** out, void* at = nullptr,
                  DWORD type = MEM_RESERVE | MEM_COMMIT, DWORD protect = PAGE_READWRITE) {
        return memory->VirtualAlloc(at, size, type, protect, level, out);
    }

    mrv_host* host = nullptr;
    mrv_owner* owner = nullptr;
    com_ptr<IHostMemoryManager> memory;
};

} // namespace memreeve::test
