// SPDX-License-Identifier: MIT
// Factors integers by continued fractions. Numbers are values whose digits are a block of their own:
// every operation makes a new one, so that nearly all it asks of a heap are small blocks that die at
// once. The same on every run; each line is an integer and its factors.
//
// usage: factor [rounds]
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

// Not negative. Least digit first, no leading zeroes, so zero has none.
class number {
public:
    number() = default;
    explicit number(std::uint64_t v) {
        for (; v != 0; v >>= 32) {
            digits_.push_back(static_cast<std::uint32_t>(v));
        }
    }
    explicit number(const std::string& decimal) {
        for (const char c : decimal) {
            *this = *this * number(10) + number(static_cast<std::uint64_t>(c - '0'));
        }
    }
    bool is_zero() const { return digits_.empty(); }
    bool is_one() const { return digits_.size() == 1 && digits_[0] == 1; }
    bool is_odd() const { return !is_zero() && (digits_[0] & 1) != 0; }
    std::uint64_t low() const {
        return (digits_.empty() ? 0 : digits_[0]) |
               (digits_.size() < 2 ? 0 : std::uint64_t{digits_[1]} << 32);
    }

    friend int compare(const number& a, const number& b) {
        if (a.digits_.size() != b.digits_.size()) {
            return a.digits_.size() < b.digits_.size() ? -1 : 1;
        }
        for (std::size_t i = a.digits_.size(); i-- != 0;) {
            if (a.digits_[i] != b.digits_[i]) {
                return a.digits_[i] < b.digits_[i] ? -1 : 1;
            }
        }
        return 0;
    }
    friend number operator+(const number& a, const number& b) {
        const number& longer = a.digits_.size() < b.digits_.size() ? b : a;
        const number& shorter = a.digits_.size() < b.digits_.size() ? a : b;
        number sum = sized(longer.digits_.size() + 1);
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < longer.digits_.size(); ++i) {
            carry += std::uint64_t{longer.digits_[i]} +
                     (i < shorter.digits_.size() ? shorter.digits_[i] : 0);
            sum.digits_[i] = static_cast<std::uint32_t>(carry);
            carry >>= 32;
        }
        sum.digits_.back() = static_cast<std::uint32_t>(carry);
        return sum.trimmed();
    }
    // a >= b.
    friend number operator-(const number& a, const number& b) {
        number rest = sized(a.digits_.size());
        std::uint64_t borrow = 0;
        for (std::size_t i = 0; i < a.digits_.size(); ++i) {
            const std::uint64_t less = (i < b.digits_.size() ? b.digits_[i] : 0) + borrow;
            borrow = a.digits_[i] < less;
            rest.digits_[i] = static_cast<std::uint32_t>(a.digits_[i] - less);
        }
        return rest.trimmed();
    }
    friend number operator*(const number& a, const number& b) {
        number product = sized(a.digits_.size() + b.digits_.size());
        for (std::size_t i = 0; i < a.digits_.size(); ++i) {
            std::uint64_t carry = 0;
            for (std::size_t j = 0; j < b.digits_.size(); ++j) {
                carry += std::uint64_t{a.digits_[i]} * b.digits_[j] + product.digits_[i + j];
                product.digits_[i + j] = static_cast<std::uint32_t>(carry);
                carry >>= 32;
            }
            product.digits_[i + b.digits_.size()] = static_cast<std::uint32_t>(carry);
        }
        return product.trimmed();
    }
    // Quotient and remainder, b not zero: schoolbook, one bit of the normalised divisor at the top.
    friend std::pair<number, number> divide(const number& a, const number& b) {
        if (compare(a, b) < 0) {
            return {number(), a};
        }
        if (b.digits_.size() == 1) {
            auto [quotient, rest] = divide(a, b.digits_[0]);
            return {std::move(quotient), number(rest)};
        }
        const int shift = __builtin_clz(b.digits_.back());
        const number divisor = b.shifted_left(shift);
        number rest = a.shifted_left(shift);
        rest.digits_.resize(std::max(rest.digits_.size(), a.digits_.size()) + 1);
        const std::size_t n = divisor.digits_.size();
        number quotient = sized(rest.digits_.size() - n);
        const std::uint64_t top = divisor.digits_[n - 1];
        for (std::size_t j = quotient.digits_.size(); j-- != 0;) {
            const std::uint64_t high =
                std::uint64_t{rest.digits_[j + n]} << 32 | rest.digits_[j + n - 1];
            std::uint64_t guess = std::min<std::uint64_t>(high / top, UINT32_MAX);
            while (!rest.take_multiple(divisor, guess, j)) {
                --guess;
            }
            quotient.digits_[j] = static_cast<std::uint32_t>(guess);
        }
        return {quotient.trimmed(), rest.trimmed().shifted_right(shift)};
    }
    friend std::pair<number, std::uint32_t> divide(const number& a, std::uint32_t b) {
        number quotient = sized(a.digits_.size());
        std::uint64_t rest = 0;
        for (std::size_t i = a.digits_.size(); i-- != 0;) {
            rest = rest << 32 | a.digits_[i];
            quotient.digits_[i] = static_cast<std::uint32_t>(rest / b);
            rest %= b;
        }
        return {quotient.trimmed(), static_cast<std::uint32_t>(rest)};
    }
    std::string decimal() const {
        std::string text;
        for (number left = *this; !left.is_zero();) {
            auto [quotient, digit] = divide(left, 10);
            text.insert(text.begin(), static_cast<char>('0' + digit));
            left = std::move(quotient);
        }
        return text.empty() ? "0" : text;
    }

private:
    static number sized(std::size_t digits) {
        number n;
        n.digits_.resize(digits);
        return n;
    }
    number& trimmed() {
        while (!digits_.empty() && digits_.back() == 0) {
            digits_.pop_back();
        }
        return *this;
    }
    number shifted_left(int bits) const {
        number shifted = sized(digits_.size() + 1);
        for (std::size_t i = 0; i < digits_.size(); ++i) {
            const std::uint64_t wide = std::uint64_t{digits_[i]} << bits;
            shifted.digits_[i] |= static_cast<std::uint32_t>(wide);
            shifted.digits_[i + 1] = static_cast<std::uint32_t>(wide >> 32);
        }
        return shifted.trimmed();
    }
    number shifted_right(int bits) const {
        number shifted = sized(digits_.size());
        for (std::size_t i = 0; i < digits_.size(); ++i) {
            const std::uint64_t above = i + 1 < digits_.size() ? digits_[i + 1] : 0;
            shifted.digits_[i] = static_cast<std::uint32_t>((above << 32 | digits_[i]) >> bits);
        }
        return shifted.trimmed();
    }
    // this -= b * times, from digit `at` on; false when that would be negative: nothing was done.
    bool take_multiple(const number& b, std::uint64_t times, std::size_t at) {
        number less = b * number(times);
        less.digits_.resize(b.digits_.size() + 1);
        std::uint64_t borrow = 0;
        for (std::size_t i = 0; i < less.digits_.size(); ++i) {
            borrow = digits_[at + i] < less.digits_[i] + borrow;
        }
        if (borrow != 0) {
            return false;
        }
        for (std::size_t i = 0; i < less.digits_.size(); ++i) {
            const std::uint64_t take = less.digits_[i] + borrow;
            borrow = digits_[at + i] < take;
            digits_[at + i] = static_cast<std::uint32_t>(digits_[at + i] - take);
        }
        return true;
    }

    std::vector<std::uint32_t> digits_;
};

number remainder(const number& a, const number& b) { return divide(a, b).second; }

number square_root(const number& n) {
    number root = n + number(1);
    for (number next = n; compare(next, root) < 0;) {
        root = next;
        next = divide(root + divide(n, root).first, 2).first;
    }
    return root;
}

number common_divisor(number a, number b) {
    while (!b.is_zero()) {
        a = std::exchange(b, remainder(a, b));
    }
    return a;
}

std::uint32_t power(std::uint64_t base, std::uint32_t exponent, std::uint32_t modulus) {
    std::uint64_t result = 1;
    for (base %= modulus; exponent != 0; exponent >>= 1, base = base * base % modulus) {
        if ((exponent & 1) != 0) {
            result = result * base % modulus;
        }
    }
    return static_cast<std::uint32_t>(result);
}

// Primes of which n is a square, 2 first.
std::vector<std::uint32_t> factor_base(const number& n, std::size_t size) {
    std::vector<std::uint32_t> primes = {2};
    for (std::uint32_t p = 3; primes.size() < size; p += 2) {
        bool prime = true;
        for (std::uint32_t d = 3; d * d <= p && prime; d += 2) {
            prime = p % d != 0;
        }
        if (prime) {
            const std::uint32_t rest = divide(n, p).second;
            if (rest == 0 || power(rest, (p - 1) / 2, p) == 1) {
                primes.push_back(p);
            }
        }
    }
    return primes;
}

// a^2 = (-1)^sign * the product of the factors, modulo n.
struct relation {
    number a;
    std::vector<std::uint32_t> exponents; // [0] of -1, [i + 1] of the base's i-th prime
};

// Empty when q has a factor outside the base. Most have: they are given up early.
std::vector<std::uint32_t> exponents_of(number q, const std::vector<std::uint32_t>& base) {
    std::vector<std::uint32_t> exponents(base.size() + 1);
    for (std::size_t i = 0; i < base.size(); ++i) {
        for (;;) {
            auto [quotient, rest] = divide(q, base[i]);
            if (rest != 0) {
                break;
            }
            q = std::move(quotient);
            ++exponents[i + 1];
        }
        if (q.is_one()) {
            return exponents;
        }
    }
    return {};
}

// A factor of n from relations whose exponents add up to even ones.
number combined(const number& n, const std::vector<relation>& relations,
                const std::vector<std::uint32_t>& base) {
    struct row {
        std::vector<bool> odd, used;
    };
    std::vector<row> rows;
    for (std::size_t r = 0; r < relations.size(); ++r) {
        row made{std::vector<bool>(base.size() + 1), std::vector<bool>(relations.size())};
        for (std::size_t i = 0; i <= base.size(); ++i) {
            made.odd[i] = (relations[r].exponents[i] & 1) != 0;
        }
        made.used[r] = true;
        for (const row& above : rows) {
            const auto pivot = std::find(above.odd.begin(), above.odd.end(), true);
            if (pivot != above.odd.end() &&
                made.odd[static_cast<std::size_t>(pivot - above.odd.begin())]) {
                for (std::size_t i = 0; i < made.odd.size(); ++i) {
                    made.odd[i] = made.odd[i] != above.odd[i];
                }
                for (std::size_t i = 0; i < made.used.size(); ++i) {
                    made.used[i] = made.used[i] != above.used[i];
                }
            }
        }
        if (std::find(made.odd.begin(), made.odd.end(), true) != made.odd.end()) {
            rows.push_back(std::move(made));
            continue;
        }
        number a(1), b(1);
        std::vector<std::uint32_t> sum(base.size() + 1);
        for (std::size_t u = 0; u < relations.size(); ++u) {
            if (made.used[u]) {
                a = remainder(a * relations[u].a, n);
                for (std::size_t i = 0; i < sum.size(); ++i) {
                    sum[i] += relations[u].exponents[i];
                }
            }
        }
        for (std::size_t i = 0; i < base.size(); ++i) {
            for (std::uint32_t times = 0; times < sum[i + 1] / 2; ++times) {
                b = remainder(b * number(base[i]), n);
            }
        }
        const number difference = compare(a, b) < 0 ? b - a : a - b;
        const number found = common_divisor(difference, n);
        if (!found.is_one() && compare(found, n) != 0) {
            return found;
        }
    }
    return number();
}

// n is odd, composite and no square.
number factor_of(const number& n, std::size_t base_size) {
    const std::vector<std::uint32_t> base = factor_base(n, base_size);
    const number root = square_root(n);
    // a_before, a: convergents modulo n; p, q: of the complete quotient (root + p) / q.
    number a_before(1), a = root, p = root, q_before(1), q = n - root * root;
    std::vector<relation> relations;
    for (std::uint32_t sign = 1;; sign ^= 1) {
        if (auto exponents = exponents_of(q, base); !exponents.empty()) {
            exponents[0] = sign;
            relations.push_back({a, std::move(exponents)});
            if (relations.size() % 16 == 0 && relations.size() > base.size()) {
                if (number found = combined(n, relations, base); !found.is_zero()) {
                    return found;
                }
            }
        }
        const number term = divide(root + p, q).first;
        const number p_next = term * q - p;
        const number q_next = compare(p, p_next) < 0 ? q_before - term * (p_next - p)
                                                     : q_before + term * (p - p_next);
        a_before = std::exchange(a, remainder(term * a + a_before, n));
        q_before = std::exchange(q, q_next);
        p = p_next;
    }
}

} // namespace

int main(int argc, char** argv) {
    // Products of two primes of 12 or 13 digits each.
    const char* const integers[] = {"85397342232111993342817", "81630622183252991948921",
                                    "112153569764828917650271", "3355903461784538101399037"};
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 1;
    for (int round = 0; round < rounds; ++round) {
        for (const char* decimal : integers) {
            const number n{std::string(decimal)};
            const number found = factor_of(n, 120);
            const number other = divide(n, found).first;
            const bool swap = compare(found, other) > 0;
            std::printf("%s = %s * %s\n", decimal, (swap ? other : found).decimal().c_str(),
                        (swap ? found : other).decimal().c_str());
        }
    }
    return 0;
}
