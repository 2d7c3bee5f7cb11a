// SPDX-License-Identifier: MIT
// One operation of a random test, as data: made from a source of numbers (a random generator, or the
// bytes of a fuzzer), carried out by twin, printed as C++ that found_cases_test.cpp takes as it is.
//
// Addresses are relative to a space, so that a list of operations means the same in another run and
// after some of them have been taken out: the window that the test has for itself, or the n-th slot,
// which is wherever the implementation placed the reservation that was made "into" that slot.
#pragma once

#include "page_model.hpp"
#include "support/numbers.hpp"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace memreeve::differential {

enum class verb : std::uint8_t {
    alloc,       // size, type, value: protection
    place,       // the same at no address; `space` is the slot it is made into
    free,        // size, type
    protect,     // size, type: 1 with an old protection to fill in, value: protection
    query,       //
    read,        //
    write,       // value: the byte
    call,        //
    fill,        // value: of the pattern; the whole page
    get_watch,   // size, type: flags, value: room
    reset_watch, // size
    invariants,  //
    count,
};
inline constexpr const char* verb_names[] = {"alloc", "place",     "free",        "protect",
                                             "query", "read",      "write",       "call",
                                             "fill",  "get_watch", "reset_watch", "invariants"};

inline constexpr std::uint8_t absolute = 0, window = 1;
inline constexpr std::uint8_t slots = 8;
constexpr std::uint8_t slot(unsigned n) { return static_cast<std::uint8_t>(2 + n); }

struct operation {
    verb what{};
    std::uint8_t space = absolute; // of the address
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint32_t type = 0;
    std::uint32_t value = 0;
};

inline std::string text_of(const operation& o) {
    char space[16];
    if (o.space < 2) {
        std::snprintf(space, sizeof space, "%s", o.space == absolute ? "absolute" : "window");
    } else {
        std::snprintf(space, sizeof space, "slot(%u)", o.space - 2u);
    }
    char text[160];
    std::snprintf(text, sizeof text, "{verb::%s, %s, 0x%llx, 0x%llx, 0x%x, 0x%x}",
                  verb_names[static_cast<unsigned>(o.what)], space,
                  static_cast<unsigned long long>(o.offset),
                  static_cast<unsigned long long>(o.size), o.type, o.value);
    return text;
}

// A test that can be pasted into found_cases_test.cpp.
inline std::string test_of(const std::vector<operation>& list, const std::string& what) {
    std::string text = "// " + what + "\nTEST(found_cases, NAME) {\n    EXPECT_EQ(play({\n";
    for (const operation& o : list) {
        text += "        " + text_of(o) + ",\n";
    }
    return text + "    }), \"\");\n}\n";
}

// ---- sources of numbers ---------------------------------------------------------------------------

using test::numbers_from_bytes;
using test::random_numbers;

// ---- the decoder ------------------------------------------------------------------------------------

// Draws the next operation. Looks at the model, so that most operations meet something, and keeps
// off addresses that are not the test's own: outside the window only reservations of the model, what
// lies in their last granule, and slots that are free again.
template <class Numbers>
class decoder {
public:
    decoder(Numbers& numbers, page_model& model, const std::uint64_t (&slot_base)[slots])
        : n_(numbers), model_(model), slot_base_(slot_base) {}

    operation next() {
        const std::uint64_t what = n_.up_to(100);
        if (what < 35) {
            return alloc();
        }
        if (what < 45) {
            return free();
        }
        if (what < 61) {
            return protect();
        }
        if (what < 70) {
            return somewhere({verb::query});
        }
        if (what < 78) {
            return somewhere({verb::read});
        }
        if (what < 86) {
            return somewhere({verb::write, absolute, 0, 0, 0, one_in(3) ? 0xc3 : number(256)});
        }
        if (what < 90) {
            return to_call();
        }
        if (what < 95) {
            operation o = somewhere({verb::fill, absolute, 0, 0, 0, number(1 << 16)});
            o.offset &= ~(page_model::page - 1);
            return o;
        }
        if (what < 98) {
            operation o = somewhere({verb::get_watch});
            o.size = size();
            o.type = one_in(16) ? 2 + number(3) : number(2);
            o.value = one_in(16) ? 0 : 1 + number(40);
            return o;
        }
        if (what < 99) {
            operation o = somewhere({verb::reset_watch});
            o.size = size();
            return o;
        }
        return {verb::invariants};
    }

private:
    static constexpr std::uint64_t page = page_model::page;

    bool one_in(std::uint64_t n) { return n_.up_to(n) == 0; }
    std::uint32_t number(std::uint64_t n) { return static_cast<std::uint32_t>(n_.up_to(n)); }
    template <std::size_t n>
    std::uint32_t one_of(const std::uint32_t (&from)[n]) {
        return from[n_.up_to(n)];
    }

    // The slot of a reservation outside the window; `slots` when it has none.
    unsigned slot_of(std::uint64_t base) const {
        unsigned k = 0;
        while (k < slots && slot_base_[k] != base) {
            ++k;
        }
        return k;
    }
    bool is_in_window(std::uint64_t a) const {
        return a - model_.begin() < model_.end() - model_.begin();
    }
    std::uint64_t address_of(const operation& o) const {
        return o.space == absolute ? o.offset
               : o.space == window ? model_.begin() + o.offset
                                   : slot_base_[o.space - 2] + o.offset;
    }
    const page_model::reservation* any_reservation() {
        const auto& all = model_.reservations();
        return all.empty() ? nullptr : all[n_.up_to(all.size())].get();
    }
    operation at(operation o, const page_model::reservation& r, std::uint64_t offset) const {
        const unsigned k = slot_of(r.base);
        if (is_in_window(r.base)) {
            o.space = window;
            o.offset = r.base - model_.begin() + offset;
        } else if (k < slots) {
            o.space = slot(k);
            o.offset = offset;
        } else {
            o.space = window;
            o.offset = 0;
        }
        return o;
    }

    operation somewhere(operation o) {
        const page_model::reservation* r = any_reservation();
        if (r != nullptr && !one_in(5)) {
            const std::uint64_t size = r->end - r->base;
            switch (n_.up_to(8)) {
            case 0: return at(o, *r, 0);
            case 1: return at(o, *r, size - page);
            case 2: return at(o, *r, n_.up_to(page));
            case 3: return beyond(o, *r);
            default: break;
            }
            const std::uint64_t offset = n_.up_to(size);
            return at(o, *r, one_in(3) ? offset : offset & ~(page - 1));
        }
        if (one_in(24)) {
            // Where a slot was: its space is ours and nobody's.
            const unsigned k = number(slots);
            if (slot_base_[k] != 0 && model_.find(slot_base_[k]) == nullptr) {
                o.space = slot(k);
                o.offset = n_.up_to(page_model::granule);
                return o;
            }
        }
        if (one_in(30)) {
            constexpr std::uint64_t odd[] = {0,
                                             1,
                                             0x8000,
                                             0xffff,
                                             0x7fffffff0000,
                                             0x7ffffffef000,
                                             0xffff800000000000,
                                             ~std::uint64_t{0}};
            o.space = absolute;
            o.offset = odd[n_.up_to(8)];
            return o;
        }
        const std::uint64_t offset = n_.up_to(model_.end() - model_.begin());
        o.space = window;
        o.offset = one_in(2) ? offset & ~std::uint64_t{0xffff} : offset;
        return o;
    }
    // Just behind a reservation: in the window whatever is there, else only its own last granule.
    operation beyond(operation o, const page_model::reservation& r) {
        const std::uint64_t size = r.end - r.base;
        const std::uint64_t tail =
            model_.has_tail(r) ? page_model::up_to_granule(r.end) - r.end : 0;
        if (is_in_window(r.base)) {
            const std::uint64_t a = r.end + n_.up_to(2 * page) - page;
            return at(o, r, (a < model_.end() ? a : r.base) - r.base);
        }
        return at(o, r, tail == 0 ? size - 1 : size + n_.up_to(tail));
    }
    std::uint64_t size() {
        switch (n_.up_to(24)) {
        case 0: return 0;
        case 1: return 1;
        case 2: return one_in(8) ? ~std::uint64_t{0} >> n_.up_to(20) : page + 1;
        case 3: return (1 + n_.up_to(8)) * 0x10000;
        default: break;
        }
        const std::uint64_t pages = 1 + n_.up_to(one_in(6) ? 90 : 12);
        return one_in(3) ? pages * page - n_.up_to(page) : pages * page;
    }
    // Of a range that begins at `o`: often inside its reservation (and, when asked for, in what is
    // committed there), up to its end, or over all of it.
    void fit(operation& o, bool committed = false) {
        o.size = size();
        const std::uint64_t a = address_of(o);
        const page_model::reservation* r = model_.find(page_model::down(a));
        if (r == nullptr || one_in(4)) {
            return;
        }
        if (one_in(8)) {
            if (one_in(3)) {
                o = at(o, *r, 0);
                o.size = r->end - r->base;
            } else {
                o.size = r->end - a;
            }
            return;
        }
        std::uint64_t end = r->end;
        if (committed) {
            end = page_model::down(a);
            for (unsigned n = 0; n < 64 && end < r->end && page_model::at(*r, end).protect != 0;
                 ++n) {
                end += page;
            }
        }
        if (o.size > end - a && end > a) {
            o.size = end - a;
        }
    }
    std::uint32_t protection() {
        static constexpr std::uint32_t usual[] = {1,     2,     4,     4,     4,    4,     4,
                                                  0x10,  0x20,  0x40,  0x40,  0x40, 0x102, 0x104,
                                                  0x104, 0x140, 0x120, 0x204, 0x404};
        static constexpr std::uint32_t odd[] = {0,     3,     8,     0x80,  0x101,     0x201,
                                                0x304, 0x804, 0x108, 0x604, 0x1000004, 0x40000004};
        return one_in(12) ? one_of(odd) : one_of(usual);
    }

    operation alloc() {
        static constexpr std::uint32_t types[] = {
            0x1000,  0x1000,  0x1000,    0x1000,   0x1000,   0x1000,   0x1000,
            0x1000,  0x1000,  0x1000,    0x2000,   0x2000,   0x3000,   0x3000,
            0x80000, 0x80000, 0x1000000, 0x103000, 0x101000, 0x202000, 0x203000};
        static constexpr std::uint32_t odd[] = {
            0,        0x4000,   0x81000,  0x100000, 0x201000,  0x180000,  0x9000,    1,
            0x402000, 0x502000, 0x400000, 0x403000, 0x1001000, 0x1080000, 0x20000000};
        operation o = somewhere({verb::alloc});
        o.type = one_in(20) ? one_of(odd) : one_of(types);
        fit(o);
        o.value = protection();
        if (one_in(100)) {
            o.type = (o.type & ~0x1000u) | 0x20000000; // A4: not without COMMIT
        } else if (one_in(50)) {
            o.type = one_in(4) ? 0x502000 : 0x402000; // A3: 1314
            o.value = one_in(8) ? o.value : 4;
        }
        if (one_in(10)) {
            return anywhere(o);
        }
        const std::uint64_t a = address_of(o);
        const std::uint64_t end = a + o.size;
        const bool reserves = (o.type & 0x2000) != 0;
        if (a == 0) {
            o.type =
                o.type == 0x80000 || o.type == 0x1000000 ? o.type : 0; // not into a slot: refused
        } else if (reserves && a >= 0x10000 && a < page_model::top && o.size != 0 &&
                   o.size <= page_model::top - a && !(is_in_window(a) && end <= model_.end())) {
            // Reservations at an address stay inside the window.
            o.space = window;
            o.offset = n_.up_to((model_.end() - model_.begin()) / 0x10000) * 0x10000;
            const std::uint64_t room = model_.end() - model_.begin() - o.offset;
            o.size = 1 + (one_in(5) ? n_.up_to(room) : o.size % room % 0x20000);
        } else if (reserves && is_in_window(a) && one_in(12)) {
            o.size = 1 + n_.up_to(model_.end() - a); // large: whole entries of the map
        }
        return o;
    }
    operation anywhere(operation o) {
        unsigned k = 0;
        while (k < slots && slot_base_[k] != 0 && model_.find(slot_base_[k]) != nullptr) {
            ++k;
        }
        if (k == slots) {
            return {verb::query, window, 0};
        }
        o.what = verb::place;
        o.space = slot(k);
        o.offset = 0;
        if (o.size > 0x400000 && o.size <= page_model::top) {
            o.size = 1 + o.size % 0x100000;
        }
        if (one_in(12)) {
            o.size = 0x200000 + n_.up_to(0x600000);
            if (one_in(8)) {
                o.size = 0x10000000 + n_.up_to(0x18000000); // not from an arena
            }
        }
        return o;
    }
    operation free() {
        static constexpr std::uint32_t odd[] = {0, 0xc000, 0x10000, 0x8010, 0x1000};
        operation o = somewhere({verb::free});
        if (one_in(40)) {
            // Slots are few, and what they hold may be large.
            o.space = slot(number(slots));
            o.offset = 0;
            o.type = 0x8000;
            return o;
        }
        o.type = one_in(20) ? one_of(odd) : one_in(6) ? 0x8000 : 0x4000;
        if (o.type == 0x8000) {
            if (one_in(2) && !model_.reservations().empty()) {
                o = at(o, *any_reservation(), n_.up_to(2) * n_.up_to(page));
            }
            o.size = one_in(12) ? 1 + n_.up_to(9000) : 0;
        } else if (!one_in(8)) {
            fit(o);
        }
        return o;
    }
    operation protect() {
        operation o = somewhere({verb::protect});
        fit(o, true);
        o.type = one_in(25) ? 0 : 1;
        o.value = protection();
        return o;
    }
    // Only what returns may be called, and what cannot be executed.
    operation to_call() {
        operation o = somewhere({verb::call});
        const std::uint64_t a = address_of(o);
        const page_model::reservation* r = model_.find(page_model::down(a));
        if (r != nullptr && one_in(2)) {
            for (std::uint64_t p = r->base; p < r->end && p < r->base + 64 * page; p += page) {
                if (model_.holds_return(p)) {
                    return at(o, *r, p - r->base);
                }
            }
        }
        return o;
    }

    Numbers& n_;
    page_model& model_;
    const std::uint64_t (&slot_base_)[slots];
};

} // namespace memreeve::differential
