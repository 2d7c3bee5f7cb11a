// SPDX-License-Identifier: MIT
// A scope guard that can be called off: undo armed first, cancelled on success.
#pragma once

#include <utility>

namespace memreeve {

template <class F>
class [[nodiscard]] defer {
public:
    explicit defer(F f) noexcept : f_(std::move(f)) {}
    defer(const defer&) = delete;
    defer& operator=(const defer&) = delete;
    ~defer() {
        if (armed_) {
            f_();
        }
    }
    void cancel() noexcept { armed_ = false; }

private:
    F f_;
    bool armed_ = true;
};

} // namespace memreeve
