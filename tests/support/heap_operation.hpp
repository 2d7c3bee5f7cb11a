// SPDX-License-Identifier: MIT
// One request to a heap as data: made from a source of numbers (a random generator, a fuzzer's bytes),
// carried out by heap_twin, printed as C++ that heap_random_test.cpp takes as it is.
#pragma once

#include "base/units.hpp"
#include "heap/size_class.hpp"

#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

namespace memreeve::test {

enum class heap_step : std::uint8_t {
    allocate, // into the slot, if it is empty
    debug,    // the same with a name and a line: `more`
    zeroed,
    aligned, // to 1 << more
    resize,
    free,
    free_twice,    // free, and again at once
    free_interior, // `more` bytes into the block
    free_wrongly,  // by another heap
    free_wild,     // `more` chooses an address that never was a block
    look,          // contents, size, name and line
    trim,
    limit, // of the owner of the heap: what it has and `size` more; 0: none
    renew, // the heap ends with what lives in it, and begins again
};
inline constexpr unsigned heap_step_count = 14;

struct heap_operation {
    heap_step what = heap_step::look;
    unsigned heap = 0;   // below heap_count
    unsigned slot = 0;   // below heap_slots
    unsigned thread = 0; // who asks: 0 the test's own, 1 and 2 two that stay, 3 one that ends then
    std::uint64_t size = 0;
    std::uint32_t more = 0;

    bool operator==(const heap_operation&) const = default;
};
inline constexpr unsigned heap_count = 4;
inline constexpr unsigned heap_slots = 192;
inline constexpr unsigned heap_threads = 4;

inline std::string text_of(const heap_operation& o) {
    static constexpr const char* names[heap_step_count] = {
        "allocate",      "debug",        "zeroed",    "aligned", "resize", "free",  "free_twice",
        "free_interior", "free_wrongly", "free_wild", "look",    "trim",   "limit", "renew"};
    char buffer[120];
    std::snprintf(buffer, sizeof buffer, "{heap_step::%s, %u, %u, %u, %llu, %u}",
                  names[static_cast<unsigned>(o.what)], o.heap, o.slot, o.thread,
                  static_cast<unsigned long long>(o.size), o.more);
    return buffer;
}

inline std::string test_of(const std::vector<heap_operation>& list, const std::string& what) {
    std::string text = "// " + what + "\nTEST(heap_found_cases, name_it) {\n    expect_good({\n";
    for (const heap_operation& o : list) {
        text += "        " + text_of(o) + ",\n";
    }
    return text + "    });\n}\n";
}

// `Numbers` has up_to(n): from 0 to n - 1. Draws without looking at the state, so that an operation
// means the same when others before it are taken out.
template <class Numbers>
class heap_decoder {
public:
    explicit heap_decoder(Numbers& numbers) : n_(numbers) {}

    heap_operation next() {
        heap_operation o;
        const std::uint64_t kind = n_.up_to(256);
        const std::uint64_t where = n_.up_to(heap_slots);
        o.slot = static_cast<unsigned>(where);
        // Of neighbouring slots most are one heap's.
        o.heap = (o.slot / 4) % 3 == 0 ? o.slot % heap_count : (o.slot / 48) % heap_count;
        const std::uint64_t who = n_.up_to(16);
        o.thread = who < 10 ? 0 : who < 13 ? 1 : who < 15 ? 2 : 3;
        using enum heap_step;
        o.what = kind < 60    ? allocate
                 : kind < 84  ? debug
                 : kind < 96  ? zeroed
                 : kind < 108 ? aligned
                 : kind < 132 ? resize
                 : kind < 196 ? free
                 : kind < 204 ? free_twice
                 : kind < 214 ? free_interior
                 : kind < 222 ? free_wrongly
                 : kind < 228 ? free_wild
                 : kind < 240 ? look
                 : kind < 248 ? trim
                 : kind < 254 ? limit
                              : renew;
        switch (o.what) {
        case allocate:
        case debug:
        case zeroed:
        case resize:
            o.size = a_size();
            o.more = static_cast<std::uint32_t>(n_.up_to(64));
            break;
        case aligned:
            o.more = static_cast<std::uint32_t>(n_.up_to(22));
            o.size = a_size();
            break;
        case limit: o.size = n_.up_to(4) == 0 ? 0 : n_.up_to(1 << 22) + 1; break;
        case free_interior:
        case free_wild: o.more = static_cast<std::uint32_t>(n_.up_to(65536)); break;
        default: break;
        }
        return o;
    }

private:
    byte_count a_size() {
        const std::uint64_t kind = n_.up_to(32);
        if (kind < 10) {
            return n_.up_to(256);
        }
        if (kind < 18) {
            return n_.up_to(4096);
        }
        if (kind < 22) {
            return n_.up_to(heap::largest_small + 1);
        }
        if (kind < 25) { // a class exactly, and a byte more or less
            return heap::size_of_class(static_cast<std::uint32_t>(n_.up_to(heap::class_count))) +
                   n_.up_to(3) - 1;
        }
        if (kind < 28) {
            return heap::largest_small - 1 + n_.up_to(100000);
        }
        if (kind < 30) { // pages exactly
            return (n_.up_to(64) + 1) * page_size;
        }
        if (kind == 30) {
            return n_.up_to(3 << 20);
        }
        static constexpr byte_count extreme[] = {0,
                                                 1,
                                                 byte_count{1} << 46,
                                                 byte_count{1} << 47,
                                                 ~byte_count{0} >> 1,
                                                 ~byte_count{0} - 4096,
                                                 ~byte_count{0} - 15,
                                                 ~byte_count{0}};
        return extreme[n_.up_to(8)];
    }

    Numbers& n_;
};

} // namespace memreeve::test
