// SPDX-License-Identifier: MIT
// Where random tests and fuzz targets take their numbers from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace memreeve::test {

class random_numbers {
public:
    explicit random_numbers(std::uint64_t seed) : random_(seed) {}
    std::uint64_t up_to(std::uint64_t n) { return random_() % n; }

private:
    std::mt19937_64 random_;
};

// Takes as many bytes as the number needs; nothing but zeroes at the end.
class numbers_from_bytes {
public:
    numbers_from_bytes(const unsigned char* bytes, std::size_t size) : at_(bytes), left_(size) {}
    std::uint64_t up_to(std::uint64_t n) {
        std::uint64_t number = 0;
        for (std::uint64_t m = n - 1; m != 0; m >>= 8) {
            number = number << 8 | (left_ != 0 ? *at_ : 0u);
            at_ += left_ != 0 ? 1 : 0;
            left_ -= left_ != 0 ? 1 : 0;
        }
        return number % n;
    }
    bool is_empty() const { return left_ == 0; }

private:
    const unsigned char* at_;
    std::size_t left_;
};

// MEMREEVE_SEED, else a new one; printed.
inline std::uint64_t seed_of_run() {
    const char* given = std::getenv("MEMREEVE_SEED");
    const std::uint64_t seed =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("MEMREEVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
}

} // namespace memreeve::test
