// SPDX-License-Identifier: MIT
// Minimises sums of products of random functions as two-level minimisers do: expand each product
// against the complement, drop the redundant ones, reduce, and again while that helps. Cofactors,
// complements and tautologies recurse over lists of small products, each a block of its own, so that
// many of a few sizes live and die in the order of a stack. The same on every run; the lines say how
// many products and literals are left.
//
// usage: minimise [functions]
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

namespace {

// Two bits per variable, 16 variables a word: 01 negated, 10 plain, 11 not in the product, 00 empty.
using product = std::vector<std::uint32_t>;
using sum = std::vector<product>;

constexpr unsigned per_word = 16;

class space {
public:
    explicit space(unsigned variables) : variables_(variables) {}

    product everything() const {
        product all((variables_ + per_word - 1) / per_word, UINT32_MAX);
        if (variables_ % per_word != 0) {
            all.back() = (1u << 2 * (variables_ % per_word)) - 1;
        }
        return all;
    }
    unsigned variables() const { return variables_; }

private:
    unsigned variables_;
};

unsigned literal(const product& p, unsigned variable) {
    return p[variable / per_word] >> 2 * (variable % per_word) & 3;
}

void set_literal(product& p, unsigned variable, unsigned value) {
    std::uint32_t& word = p[variable / per_word];
    word = (word & ~(3u << 2 * (variable % per_word))) | value << 2 * (variable % per_word);
}

product both(const product& a, const product& b) {
    product common = a;
    for (std::size_t i = 0; i < common.size(); ++i) {
        common[i] &= b[i];
    }
    return common;
}

// Whether a product has a variable that can be neither: then nothing is in it.
bool is_empty(const product& p, const space& s) {
    const product all = s.everything();
    for (std::size_t i = 0; i < p.size(); ++i) {
        const std::uint32_t some = (p[i] | p[i] >> 1) & 0x55555555 & all[i];
        if (some != (0x55555555 & all[i])) {
            return true;
        }
    }
    return false;
}

bool covers(const product& larger, const product& smaller) {
    for (std::size_t i = 0; i < larger.size(); ++i) {
        if ((smaller[i] & ~larger[i]) != 0) {
            return false;
        }
    }
    return true;
}

// What is left of the function inside `p`, whose variables then no longer matter.
sum cofactor(const sum& function, const product& p, const space& s) {
    const product all = s.everything();
    sum left;
    for (const product& one : function) {
        if (!is_empty(both(one, p), s)) {
            product wider = one;
            for (std::size_t i = 0; i < wider.size(); ++i) {
                wider[i] |= all[i] & ~p[i];
            }
            left.push_back(std::move(wider));
        }
    }
    return left;
}

// The variable that most products have, those before that have it both ways; none: no product has any.
std::optional<unsigned> splitting_variable(const sum& function, const space& s) {
    std::optional<unsigned> best;
    unsigned best_score = 0;
    for (unsigned v = 0; v < s.variables(); ++v) {
        unsigned negated = 0, plain = 0;
        for (const product& p : function) {
            negated += literal(p, v) == 1;
            plain += literal(p, v) == 2;
        }
        const unsigned score = negated + plain + (negated != 0 && plain != 0 ? 1000 : 0);
        if (score > best_score) {
            best = v;
            best_score = score;
        }
    }
    return best;
}

product half(const space& s, unsigned variable, unsigned value) {
    product p = s.everything();
    set_literal(p, variable, value);
    return p;
}

bool is_tautology(const sum& function, const space& s) {
    const product all = s.everything();
    if (std::find(function.begin(), function.end(), all) != function.end()) {
        return true;
    }
    const auto v = splitting_variable(function, s);
    return v && is_tautology(cofactor(function, half(s, *v, 1), s), s) &&
           is_tautology(cofactor(function, half(s, *v, 2), s), s);
}

sum complement(const sum& function, const space& s) {
    if (function.empty()) {
        return {s.everything()};
    }
    const auto v = splitting_variable(function, s);
    if (!v) {
        return {};
    }
    if (function.size() == 1) {
        sum outside;
        for (unsigned each = 0; each < s.variables(); ++each) {
            if (literal(function[0], each) != 3) {
                outside.push_back(half(s, each, 3 - literal(function[0], each)));
            }
        }
        return outside;
    }
    sum made;
    sum plain = complement(cofactor(function, half(s, *v, 2), s), s);
    for (product& p : complement(cofactor(function, half(s, *v, 1), s), s)) {
        // What is outside on both sides does not depend on the variable.
        const auto same = std::find(plain.begin(), plain.end(), p);
        if (same != plain.end()) {
            plain.erase(same);
        } else {
            set_literal(p, *v, 1);
        }
        made.push_back(std::move(p));
    }
    for (product& p : plain) {
        set_literal(p, *v, 2);
        made.push_back(std::move(p));
    }
    return made;
}

// Each product loses the literals that it can do without, and those that it then covers go.
sum expand(const sum& function, const sum& outside, const space& s) {
    sum made;
    for (const product& p : function) {
        if (std::any_of(made.begin(), made.end(),
                        [&](const product& larger) { return covers(larger, p); })) {
            continue;
        }
        product wide = p;
        for (unsigned v = 0; v < s.variables(); ++v) {
            if (literal(wide, v) == 3) {
                continue;
            }
            product wider = wide;
            set_literal(wider, v, 3);
            if (std::all_of(outside.begin(), outside.end(),
                            [&](const product& o) { return is_empty(both(wider, o), s); })) {
                wide = std::move(wider);
            }
        }
        sum kept;
        for (product& other : made) {
            if (!covers(wide, other)) {
                kept.push_back(std::move(other));
            }
        }
        kept.push_back(std::move(wide));
        made = std::move(kept);
    }
    return made;
}

sum without(const sum& function, std::size_t which) {
    sum rest;
    for (std::size_t i = 0; i < function.size(); ++i) {
        if (i != which) {
            rest.push_back(function[i]);
        }
    }
    return rest;
}

sum irredundant(sum function, const space& s) {
    for (std::size_t i = function.size(); i-- != 0;) {
        sum rest = without(function, i);
        if (is_tautology(cofactor(rest, function[i], s), s)) {
            function = std::move(rest);
        }
    }
    return function;
}

// The smallest product that holds all of a function's.
product around(const sum& function, const space& s) {
    product all(s.everything().size());
    for (const product& p : function) {
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i] |= p[i];
        }
    }
    return all;
}

// Each product shrinks to what no other has, so that expanding goes elsewhere.
sum reduce(sum function, const space& s) {
    for (std::size_t i = 0; i < function.size(); ++i) {
        const sum alone = complement(cofactor(without(function, i), function[i], s), s);
        if (!alone.empty()) {
            function[i] = both(function[i], around(alone, s));
        }
    }
    return function;
}

unsigned literals(const sum& function, const space& s) {
    unsigned count = 0;
    for (const product& p : function) {
        for (unsigned v = 0; v < s.variables(); ++v) {
            count += literal(p, v) != 3;
        }
    }
    return count;
}

sum minimise(sum function, const space& s) {
    const sum outside = complement(function, s);
    function = irredundant(expand(function, outside, s), s);
    for (;;) {
        sum next = irredundant(expand(reduce(function, s), outside, s), s);
        if (std::pair(next.size(), literals(next, s)) >=
            std::pair(function.size(), literals(function, s))) {
            return function;
        }
        function = std::move(next);
    }
}

bool is_same(const sum& a, const sum& b, const space& s) {
    const auto within = [&](const sum& inner, const sum& outer) {
        return std::all_of(inner.begin(), inner.end(), [&](const product& p) {
            return is_tautology(cofactor(outer, p, s), s);
        });
    };
    return within(a, b) && within(b, a);
}

class random_functions {
public:
    sum next(unsigned products, const space& s) {
        sum function;
        while (function.size() < products) {
            product p = s.everything();
            for (unsigned v = 0; v < s.variables(); ++v) {
                if (const unsigned r = draw() % 5; r < 2) {
                    set_literal(p, v, 1 + r);
                }
            }
            function.push_back(std::move(p));
        }
        return function;
    }

private:
    unsigned draw() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<unsigned>(state_ >> 40);
    }
    std::uint64_t state_ = 42;
};

} // namespace

int main(int argc, char** argv) {
    const int functions = argc > 1 ? std::atoi(argv[1]) : 10;
    random_functions random;
    for (int i = 0; i < functions; ++i) {
        const space s(10 + static_cast<unsigned>(i) % 9);
        const sum function = random.next(40, s);
        const sum least = minimise(function, s);
        if (!is_same(function, least, s)) {
            std::puts("another function came out");
            return 1;
        }
        std::printf("%u variables: %zu products, %u literals\n", s.variables(), least.size(),
                    literals(least, s));
    }
    return 0;
}
