// SPDX-License-Identifier: MIT
// result<T>: a value or an error, with std::expected's names (g++ 12 has <expected> only as C++23).
// T must be trivially destructible: results travel on paths that may neither allocate nor throw.
// Move-only values that need a destructor (charge, change) are returned through out references.
#pragma once

#include "base/error.hpp"

#include <type_traits>
#include <utility>

namespace memreeve {

template <class T>
class [[nodiscard]] result {
    static_assert(std::is_trivially_destructible_v<T>);

public:
    using value_type = T;

    constexpr result(T value) noexcept : value_(std::move(value)), ok_(true) {}
    constexpr result(failure e) noexcept : error_(e), ok_(false) {}
    constexpr result(errc code) noexcept : result(failure{code, 0}) {}

    constexpr bool has_value() const noexcept { return ok_; }
    constexpr explicit operator bool() const noexcept { return ok_; }
    constexpr const T& value() const noexcept { return value_; }
    constexpr T& value() noexcept { return value_; }
    constexpr const T& operator*() const noexcept { return value_; }
    constexpr T& operator*() noexcept { return value_; }
    constexpr const T* operator->() const noexcept { return &value_; }
    constexpr failure error() const noexcept { return error_; }

private:
    union {
        T value_;
        failure error_;
    };
    bool ok_;
};

template <>
class [[nodiscard]] result<void> {
public:
    using value_type = void;

    constexpr result() noexcept = default;
    constexpr result(failure e) noexcept : error_(e), ok_(false) {}
    constexpr result(errc code) noexcept : result(failure{code, 0}) {}

    constexpr bool has_value() const noexcept { return ok_; }
    constexpr explicit operator bool() const noexcept { return ok_; }
    constexpr failure error() const noexcept { return error_; }

private:
    failure error_{};
    bool ok_ = true;
};

} // namespace memreeve
