// SPDX-License-Identifier: MIT
// Words of one thread, and of who takes over what it left: plain ones, so that the compiler makes one
// instruction of an update. Only ThreadSanitizer is told of the handing over, which it does not see.
#pragma once

#include <atomic>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MEMREEVE_SEES_THREADS 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define MEMREEVE_SEES_THREADS 1
#endif

namespace memreeve::heap {

template <class T>
class private_word {
public:
    constexpr private_word() noexcept = default;
    constexpr explicit private_word(T first) noexcept : value_(first) {}

#if defined(MEMREEVE_SEES_THREADS)
    T get() const noexcept { return value_.load(std::memory_order_relaxed); }
    void set(T to) noexcept { value_.store(to, std::memory_order_relaxed); }

private:
    std::atomic<T> value_{};
#else
    T get() const noexcept { return value_; }
    void set(T to) noexcept { value_ = to; }

private:
    T value_{};
#endif
};

} // namespace memreeve::heap
