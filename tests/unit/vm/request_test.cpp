// SPDX-License-Identifier: MIT
// Decoding of arguments: rules A1-A9, A17, P1-P5, F1-F3, V1-V3 and their order, one row a case.
#include "vm/request.hpp"

#include "vm/win32.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <ostream>

namespace memreeve::vm {

// Prints values as their number.
void PrintTo(alloc_kind k, std::ostream* out) { *out << static_cast<int>(k); }

namespace {

using namespace win32;

constexpr byte_count huge = ~byte_count{0};

struct alloc_case {
    const char* rule;
    address where;
    byte_count size;
    std::uint32_t type;
    std::uint32_t protect;
    std::optional<errc> refusal;
    alloc_kind kind = alloc_kind::reserve;
    range span{};
    bool anywhere = false;
};

constexpr auto bad = errc::invalid_argument;
constexpr auto privilege = errc::privilege_not_held;
constexpr std::uint32_t rc = mem_reserve | mem_commit;

constexpr alloc_case allocs[] = {
    {"A1", 1, 4096, mem_reserve, 4, bad},
    {"A1", 0xffff, 4096, mem_commit, 4, bad},
    {"A1 last", 0x10000, 4096, mem_reserve, 4, {}, alloc_kind::reserve, {0x10000, 0x11000}},
    {"A1 before A2", 0x8000, 4096, 0, 4, bad},
    {"A2 nothing", 0, 4096, 0, 4, bad},
    {"A2 unknown", 0, 4096, mem_reserve | 1, 4, bad},
    {"A2 decommit", 0, 4096, mem_decommit, 4, bad},
    {"A2 release", 0, 4096, mem_reserve | mem_release, 4, bad},
    {"A2 free", 0, 4096, mem_reserve | mem_free, 4, bad},
    {"A2 top down alone", 0, 4096, mem_top_down, 4, bad},
    {"A2 reset reserve", 0x20000, 4096, mem_reset | mem_reserve, 4, bad},
    {"A2 reset commit", 0x20000, 4096, mem_reset | mem_commit, 4, bad},
    {"A2 reset top down", 0x20000, 4096, mem_reset | mem_top_down, 4, bad},
    {"A2 reset watch", 0x20000, 4096, mem_reset | mem_write_watch, 4, bad},
    {"A2 reset undo", 0x20000, 4096, mem_reset | mem_reset_undo, 4, bad},
    {"A2 undo commit", 0x20000, 4096, mem_reset_undo | mem_commit, 4, bad},
    {"A2 watch without reserve", 0x20000, 4096, mem_commit | mem_write_watch, 4, bad},
    {"WW2 watched",
     0,
     65536,
     mem_reserve | mem_write_watch,
     4,
     {},
     alloc_kind::reserve,
     {0, 65536},
     true},
    {"A3 no reserve", 0, 4096, mem_physical, 4, bad},
    {"A3 commit", 0, 4096, rc | mem_physical, 4, bad},
    {"A3 protection", 0, 4096, mem_reserve | mem_physical, 2, bad},
    {"A3 modifier", 0, 4096, mem_reserve | mem_physical, 0x104, bad},
    {"decision 7 physical", 0, 4096, mem_reserve | mem_physical, 4, privilege},
    {"decision 7 physical top down", 0, 4096, mem_reserve | mem_physical | mem_top_down, 4,
     privilege},
    {"A4 no commit", 0, 4096, mem_reserve | mem_large_pages, 4, bad},
    {"A4 physical", 0, 4096, rc | mem_large_pages | mem_physical, 4, bad},
    {"A4 reset", 0x20000, 4096, mem_reset | mem_large_pages, 4, bad},
    {"A4 watch", 0, 4096, rc | mem_large_pages | mem_write_watch, 4, bad},
    {"A4 not a multiple", 0, 2097152 + 4096, rc | mem_large_pages, 4, bad},
    {"A4 not there", 0x10000, 2097152, rc | mem_large_pages, 4, bad},
    {"A4 whole",
     0,
     2097152,
     rc | mem_large_pages,
     4,
     {},
     alloc_kind::reserve_commit,
     {0, 2097152},
     true},
    {"A5", 0, 4096, mem_reserve, 0, bad},
    {"A5 reset", 0x20000, 4096, mem_reset, 0, bad},
    {"A5 before A4's privilege", 0, 2097152, rc | mem_large_pages, 0, bad},
    {"A6 top", top_address, 4096, mem_reserve, 4, bad},
    {"A6 above", top_address + 0x10000, 4096, mem_reserve, 4, bad},
    {"A6 kernel", 0xffff800000000000, 4096, mem_commit, 4, bad},
    {"A6 last page",
     top_address - 4096,
     4096,
     mem_commit,
     4,
     {},
     alloc_kind::commit,
     {top_address - 4096, top_address}},
    {"A6 one beyond", top_address - 4096, 4097, mem_commit, 4, bad},
    {"A6 size 0", 0, 0, mem_reserve, 4, bad},
    {"A6 size 0 there", 0x20000, 0, mem_commit, 4, bad},
    {"A6 wraps", 0x20000, huge, mem_commit, 4, bad},
    {"A6 wraps to 0", 0x20000, huge - 0x1ffff, mem_reserve, 4, bad},
    {"A6 null too large", 0, top_address + 1, mem_reserve, 4, bad},
    {"A6 null huge", 0, huge, mem_reserve, 4, bad},
    {"A7 null", 0, 4096, mem_reserve, 8, bad},
    {"A7 null commit", 0, 4096, mem_commit, 0x80, bad},
    {"A7 there", 0x20000, 4096, rc, 8, bad},
    {"A8 rounds down, size grows",
     0x31234,
     0x1000,
     mem_reserve,
     4,
     {},
     alloc_kind::reserve,
     {0x30000, 0x33000}},
    {"A8 commit too", 0x3ffff, 1, rc, 4, {}, alloc_kind::reserve_commit, {0x30000, 0x40000}},
    {"A9 commit alone at null",
     0,
     100,
     mem_commit,
     4,
     {},
     alloc_kind::reserve_commit,
     {0, 0x1000},
     true},
    {"A9 both", 0, 0x10001, rc, 4, {}, alloc_kind::reserve_commit, {0, 0x11000}, true},
    {"A9 reserve", 0, 1, mem_reserve, 1, {}, alloc_kind::reserve, {0, 0x1000}, true},
    {"A10 null", 0, 1, mem_reserve | mem_top_down, 1, {}, alloc_kind::reserve, {0, 0x1000}, true},
    {"A10 commit",
     0x20000,
     1,
     mem_commit | mem_top_down,
     4,
     {},
     alloc_kind::commit,
     {0x20000, 0x21000}},
    {"A11 span", 0x20fff, 2, mem_commit, 4, {}, alloc_kind::commit, {0x20000, 0x22000}},
    {"A12 is the map's", 0x20000, 2, mem_commit, 8, {}, alloc_kind::commit, {0x20000, 0x21000}},
    {"A16", 0x20fff, 1, mem_reset, 4, {}, alloc_kind::discard, {0x20000, 0x21000}},
    {"A17", 0, 4096, mem_reset, 4, bad},
    {"A18", 0x20000, 1, mem_reset_undo, 4, {}, alloc_kind::undo_discard, {0x20000, 0x21000}},
};

TEST(request, alloc_arguments) {
    for (const alloc_case& c : allocs) {
        const auto q = decode_alloc(c.where, c.size, c.type, c.protect);
        ASSERT_EQ(q.has_value(), !c.refusal.has_value()) << c.rule;
        if (c.refusal) {
            EXPECT_EQ(q.error().code, *c.refusal) << c.rule;
            continue;
        }
        EXPECT_EQ(q->kind, c.kind) << c.rule;
        EXPECT_EQ(q->span, c.span) << c.rule;
        EXPECT_EQ(q->anywhere, c.anywhere) << c.rule;
        EXPECT_EQ(q->protect.value, c.protect) << c.rule;
    }
    EXPECT_TRUE(decode_alloc(0, 1, mem_reserve | mem_top_down, 1)->top_down);
}

struct free_case {
    const char* rule;
    address where;
    byte_count size;
    std::uint32_t type;
    bool refused;
    range span{};
    bool whole = false;
};

TEST(request, free_arguments) {
    constexpr free_case cases[] = {
        {"F1 none", 0x20000, 0, 0, true},
        {"F1 both", 0x20000, 0, mem_decommit | mem_release, true},
        {"F1 free", 0x20000, 0, mem_free, true},
        {"F1 placeholder bits", 0x20000, 0, mem_release | 1, true},
        {"F1 commit", 0x20000, 4096, mem_commit, true},
        {"F2", 0x20000, 1, mem_release, true},
        {"F2 whatever the address", top_address, 1, mem_release, true},
        {"F3 top", top_address, 0, mem_release, true},
        {"F3 end", top_address - 4096, 4097, mem_decommit, true},
        {"F3 wraps", 0x20000, huge, mem_decommit, true},
        {"F3 kernel", 0xffff800000000000, 0, mem_decommit, true},
        {"F4 null is the map's", 0, 0, mem_release, false, {0, 0}, true},
        {"F6", 0x20fff, 0, mem_release, false, {0x20000, 0x20000}, true},
        {"F6 decommit", 0x20fff, 0, mem_decommit, false, {0x20000, 0x20000}, true},
        {"F7", 0x20fff, 2, mem_decommit, false, {0x20000, 0x22000}, false},
    };
    for (const free_case& c : cases) {
        const auto q = decode_free(c.where, c.size, c.type);
        ASSERT_EQ(q.has_value(), !c.refused) << c.rule;
        if (c.refused) {
            EXPECT_EQ(q.error().code, bad) << c.rule;
            continue;
        }
        EXPECT_EQ(q->whole, c.whole) << c.rule;
        EXPECT_EQ(q->where, round_down(c.where, page_size)) << c.rule;
        EXPECT_EQ(q->release, c.type == mem_release) << c.rule;
        if (!c.whole) {
            EXPECT_EQ(q->span, c.span) << c.rule;
        }
    }
}

TEST(request, protect_arguments) {
    constexpr auto no_access = errc::no_access;
    struct {
        const char* rule;
        address where;
        byte_count size;
        std::uint32_t protect;
        bool has_old;
        std::optional<errc> refusal;
        range span{};
    } const cases[] = {
        {"V1", 0x20000, 1, 0, true, bad, {}},
        {"V1 before V2", 0x20000, 1, 3, false, bad, {}},
        {"V1 before V3", top_address, 0, 0, true, bad, {}},
        {"V2", 0x20000, 1, 4, false, no_access, {}},
        {"V2 before V3", top_address, 0, 4, false, no_access, {}},
        {"V3 top", top_address, 1, 4, true, bad, {}},
        {"V3 size 0", 0x20000, 0, 4, true, bad, {}},
        {"V3 wraps", 0x20000, huge, 4, true, bad, {}},
        {"V5 is the map's", 0x20000, 1, 8, true, {}, {0x20000, 0x21000}},
        {"V7 span", 0x20fff, 2, 4, true, {}, {0x20000, 0x22000}},
    };
    for (const auto& c : cases) {
        const auto q = decode_protect(c.where, c.size, c.protect, c.has_old);
        ASSERT_EQ(q.has_value(), !c.refusal.has_value()) << c.rule;
        if (c.refusal) {
            EXPECT_EQ(q.error().code, *c.refusal) << c.rule;
        } else {
            EXPECT_EQ(q->span, c.span) << c.rule;
        }
    }
}

// P1-P5 by an independent statement of the rules, over every combination of the low 12 bits and
// each higher bit.
TEST(protection, p1_p2_p3_p5_every_value) {
    const auto valid = [](std::uint32_t v) {
        const std::uint32_t base = v & 0xff;
        if (__builtin_popcount(base) != 1) {
            return false; // P1
        }
        std::uint32_t rest = v & ~0xffu;
        if ((rest & page_targets_invalid) != 0 && base >= page_execute) {
            rest &= ~page_targets_invalid; // P3
        }
        if (rest == 0) {
            return true;
        }
        // P2: one modifier at most, and none with NOACCESS; P3: nothing else.
        return (rest == page_guard || rest == page_nocache || rest == page_writecombine) &&
               base != page_noaccess;
    };
    unsigned good = 0;
    for (unsigned high = 11; high <= 32; ++high) {
        const std::uint32_t extra = high == 32 ? 0 : std::uint32_t{1} << high;
        for (std::uint32_t low = 0; low < 0x800; ++low) {
            const std::uint32_t v = low | extra;
            ASSERT_EQ(decode_protection(v).has_value(), valid(v)) << std::hex << v;
            good += valid(v) ? 1u : 0u;
        }
    }
    EXPECT_EQ(good,
              8u + 7 * 3 + 4 * 4); // plain and modified, and the execute ones with TARGETS_INVALID
}

TEST(protection, p4_write_copy_is_valid_but_no_page_state) {
    for (const std::uint32_t v : {8u, 0x80u, 0x108u, 0x280u}) {
        ASSERT_TRUE(decode_protection(v));
        EXPECT_TRUE(decode_protection(v)->is_write_copy);
    }
    EXPECT_FALSE(decode_protection(4)->is_write_copy);
}

TEST(protection, q9_p6_page_states_say_what_was_asked) {
    for (const std::uint32_t base : {1u, 2u, 4u, 0x10u, 0x20u, 0x40u}) {
        const auto plain = decode_protection(base);
        ASSERT_TRUE(plain);
        EXPECT_TRUE(is_committed(plain->code));
        EXPECT_EQ(encode_protection(plain->code, 4), base);
        // P6: the cache bits are the allocation's.
        EXPECT_EQ(encode_protection(plain->code, 0x204), base | 0x200);
        EXPECT_EQ(encode_protection(plain->code, 0x404), base | 0x400);
        EXPECT_EQ(decode_protection(base == 1 ? 1 : base | 0x200)->code, plain->code);
        if (base != 1) {
            const auto guarded = decode_protection(base | page_guard);
            ASSERT_TRUE(guarded);
            EXPECT_TRUE(is_guarded(guarded->code));
            EXPECT_EQ(without_guard(guarded->code), plain->code);
            EXPECT_EQ(encode_protection(guarded->code, 1), base | page_guard);
            EXPECT_EQ(use_of(guarded->code), access::none) << "an armed guard is inaccessible";
        }
    }
    EXPECT_EQ(use_of(decode_protection(0x10)->code), access::read_execute) << "G1";
}

} // namespace
} // namespace memreeve::vm
