// SPDX-License-Identifier: MIT
// What a reader of the region map is told while reservations come and go under its eyes: an answer
// that was true at one moment, never parts of two (decision 18). Each change is tried at every
// machine instruction of the reader (support/stepping.hpp), then by threads.
#include "vm/region_map.hpp"

#include "support/stepping.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace memreeve::vm {
namespace {

using test::stepping;

constexpr byte_count record_space = byte_count{64} << 20;
constexpr address base = 0x7e9000000000; // of a span of 64 GiB: nothing is taken before
constexpr range around{base - (byte_count{1} << 28), base + (byte_count{1} << 29)};
// A step costs some microseconds, and the n-th instruction is reached by n of them.
constexpr std::uint64_t many = 100;
constexpr std::uint64_t some = 24;

// A reservation by its tag: whose answer it is can be told from the answer alone.
struct shape {
    std::uint64_t tag;
    range where;
    std::uint32_t protect;
    page_code code;
};

constexpr shape granules(std::uint64_t tag, address at, unsigned count, std::uint32_t protect,
                         page_code code) {
    return {tag, {at, at + count * granule_size}, protect, code};
}

class region_map_readers : public testing::Test {
protected:
    region_map_readers() {
        memory = ::mmap(nullptr, 3 * record_space, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        EXPECT_NE(memory, MAP_FAILED);
        const auto grow = [](address, byte_count) noexcept { return 0; };
        const auto at = reinterpret_cast<address>(memory);
        nodes.open(at + record_space, record_space, region_map::node_unit, grow);
        records.open(at + 2 * record_space, record_space, sizeof(reservation), grow);
        map.open(static_cast<std::atomic<std::uint64_t>*>(memory), &nodes, &records);
    }
    ~region_map_readers() override {
        EXPECT_STREQ(map.check_invariants(), nullptr);
        ::munmap(memory, 3 * record_space);
    }

    // What address_space does; also in the handler of stepping.
    void come(const shape& s) {
        const std::uint32_t index = map.make(s.where, owner_id::root, s.protect, 0, s.tag);
        fine = fine && index != 0 && map.prepare(s.where);
        map.install(index, s.code);
    }
    void go(address at) {
        const found f = map.find(at);
        fine =
            fine && f.index != 0 && map.claim(f.index, f.life, f.whole) == claim_outcome::claimed;
        map.remove(f.index);
        map.forget(f.index);
    }
    void set(range where, page_code code) {
        const found f = map.find(where.begin);
        fine = fine && map.claim(f.index, f.life, where) == claim_outcome::claimed;
        map.publish(where, code, false);
    }
    void nothing_left() {
        for (address at = around.begin; (at = map.next_base(at, around.end)) < around.end;) {
            go(at);
        }
    }

    // Empty when `f` is what a page of one of these, in one piece, looks like.
    static std::string wrong(const found& f, address asked, const std::vector<shape>& possible) {
        if (f.at != asked) {
            return "another page";
        }
        if (f.index == 0) {
            return "";
        }
        for (const shape& s : possible) {
            if (s.tag != f.tag) {
                continue;
            }
            return !(f.whole == s.where)      ? "the range of another reservation"
                   : f.protect != s.protect   ? "the protection of another reservation"
                   : f.code != s.code         ? "the page state of another reservation"
                   : f.run_end != s.where.end ? "a run that ends early or late"
                   : !s.where.contains(f.at)  ? "a reservation that never had the page"
                                              : "";
        }
        return "no such reservation";
    }

    // `old_one` is released and `cycles - 1` times another comes and goes, then `new_one` comes.
    void expect_whole_answers(const shape& old_one, const shape& new_one, address asked,
                              unsigned cycles, std::uint64_t at_most = some) {
        const shape between = granules(99, old_one.where.begin, 1, 2, page_code::r);
        found f;
        const std::uint64_t all = stepping::at_every_instruction(
            [&] {
                nothing_left();
                come(old_one);
            },
            [&] { f = map.find(asked); },
            [&] {
                go(old_one.where.begin);
                for (unsigned i = 1; i < cycles; ++i) {
                    come(between);
                    go(between.where.begin);
                }
                come(new_one);
            },
            [&](std::uint64_t n) {
                EXPECT_EQ(wrong(f, asked, {old_one, new_one, between}), "")
                    << "at instruction " << n << ", " << cycles << " reservations later: tag "
                    << f.tag;
            },
            at_most);
        EXPECT_GT(all, 20u);
        EXPECT_TRUE(fine);
        nothing_left();
    }

    void* memory = nullptr;
    record_array nodes;
    record_array records;
    region_map map;
    bool fine = true;
};

#if MEMREEVE_CAN_STEP

TEST_F(region_map_readers, are_told_of_one_reservation_when_another_follows_it) {
    const shape old_one = granules(1, base, 3, 4, page_code::rw);
    const shape new_one = granules(2, base, 6, 0x40, page_code::reserved);
    const shape begins_below = granules(3, base - granule_size, 3, 0x40, page_code::reserved);
    expect_whole_answers(old_one, new_one, base, 1, many);
    for (const address asked : {base, base + granule_size}) {
        for (const unsigned cycles : {1u, 2u, 3u}) {
            expect_whole_answers(old_one, new_one, asked, cycles);
            expect_whole_answers(old_one, begins_below, asked, cycles);
        }
    }
}

// As many as the count in an entry needs to come round, if it has few bits.
TEST_F(region_map_readers, are_told_of_one_reservation_however_many_came_and_went) {
    const shape old_one = granules(1, base, 2, 4, page_code::rw);
    const shape new_one = granules(2, base, 3, 0x40, page_code::reserved);
    for (unsigned bits = 4; bits <= 10; ++bits) {
        expect_whole_answers(old_one, new_one, base, (1u << bits) - 1);
        expect_whole_answers(old_one, new_one, base, 1u << bits);
    }
    for (unsigned bits = 11; bits <= 16; ++bits) {
        expect_whole_answers(old_one, new_one, base, 1u << bits, 16);
    }
}

TEST_F(region_map_readers, are_told_of_one_reservation_when_its_entries_span_megabytes) {
    constexpr unsigned granules_of_4_mib = 64;
    const shape old_one = granules(1, base, granules_of_4_mib, 4, page_code::rw);
    const shape new_one = granules(2, base, granules_of_4_mib + 3, 0x40, page_code::reserved);
    const shape short_one = granules(3, base, 2, 0x40, page_code::reserved);
    for (const unsigned cycles : {1u, 2u, 128u}) {
        expect_whole_answers(old_one, new_one, base, cycles, 16);
        expect_whole_answers(old_one, short_one, base + granule_size, cycles, 16);
        expect_whole_answers(short_one, new_one, base + granule_size, cycles, 16);
    }
}

// The page was in the reservation throughout: only its state may be one or the other.
TEST_F(region_map_readers, never_miss_a_reservation_that_stays) {
    const shape s = granules(1, base, 3, 4, page_code::reserved);
    const range first{base, base + 3 * page_size};
    found f;
    stepping::at_every_instruction(
        [&] {
            nothing_left();
            come(s);
        },
        [&] { f = map.find(base); }, [&] { set(first, page_code::rw); },
        [&](std::uint64_t n) {
            EXPECT_EQ(f.tag, s.tag) << "at instruction " << n;
            EXPECT_EQ(f.whole, s.where) << "at instruction " << n;
            EXPECT_EQ(f.run_end, f.code == page_code::rw ? first.end : s.where.end)
                << "at instruction " << n;
        },
        many);
    EXPECT_TRUE(fine);
    nothing_left();
}

// The record of the first is used again far above: what lies between is not jumped over.
TEST_F(region_map_readers, find_the_next_base_when_a_record_moves_on) {
    const shape first = granules(1, base, 2, 4, page_code::rw);
    const shape stays = granules(2, base + 16 * granule_size, 2, 4, page_code::rw);
    const shape far_off = granules(3, base + 4096 * granule_size, 2, 4, page_code::rw);
    const shape below = granules(4, base - 16 * granule_size, 2, 4, page_code::rw);
    for (const shape& moved : {far_off, below}) {
        for (const address from : {base, base - granule_size}) { // on the way or at once
            address got = 0;
            stepping::at_every_instruction(
                [&] {
                    nothing_left();
                    come(stays);
                    come(first);
                },
                [&] { got = map.next_base(from); },
                [&] {
                    go(first.where.begin);
                    come(moved);
                },
                [&](std::uint64_t n) {
                    EXPECT_TRUE(got == first.where.begin || got == stays.where.begin)
                        << "at instruction " << n << " " << std::hex << got;
                },
                some);
        }
    }
    EXPECT_TRUE(fine);
    nothing_left();
}

// Pages of three kinds in a granule: what describes them is used again for another granule, there and
// back, with other kinds at other pages.
TEST_F(region_map_readers, are_told_of_one_reservation_when_its_pages_differ) {
    struct stripes {
        shape of;
        unsigned first, second; // where the second kind begins and ends; then reserved
        page_code kinds[2];
    };
    const address elsewhere = base + 64 * granule_size;
    const stripes old_one{
        granules(1, base, 1, 4, page_code::reserved), 3, 7, {page_code::rw, page_code::r}};
    const stripes new_one{granules(2, base, 1, 0x40, page_code::reserved),
                          5,
                          6,
                          {page_code::rwx, page_code::guard_rw}};
    const stripes moved{granules(3, elsewhere, 1, 2, page_code::reserved),
                        9,
                        12,
                        {page_code::rx, page_code::noaccess}};
    const auto come_striped = [this](const stripes& s) {
        come(s.of);
        const address at = s.of.where.begin;
        set({at, at + bytes_of(s.first)}, s.kinds[0]);
        set({at + bytes_of(s.first), at + bytes_of(s.second)}, s.kinds[1]);
    };
    const auto is_of = [](const found& f, const stripes& s) {
        const auto page = static_cast<unsigned>((f.at - s.of.where.begin) >> page_shift);
        const unsigned end = page < s.first ? s.first : page < s.second ? s.second : 16;
        const page_code code = page < s.first    ? s.kinds[0]
                               : page < s.second ? s.kinds[1]
                                                 : page_code::reserved;
        return f.tag == s.of.tag && f.whole == s.of.where && f.protect == s.of.protect &&
               f.code == code && f.run_end == s.of.where.begin + bytes_of(end);
    };
    for (const unsigned page : {0u, 4u, 5u, 10u}) {
        for (const unsigned cycles : {0u, 1u, 2u, 128u}) {
            found f;
            stepping::at_every_instruction(
                [&] {
                    nothing_left();
                    come_striped(old_one);
                },
                [&] { f = map.find(base + bytes_of(page)); },
                [&] {
                    go(base);
                    for (unsigned i = 0; i < cycles; ++i) {
                        come_striped(moved);
                        go(elsewhere);
                    }
                    come_striped(new_one);
                },
                [&](std::uint64_t n) {
                    EXPECT_TRUE(f.index == 0 || is_of(f, old_one) || is_of(f, new_one))
                        << "page " << page << " at instruction " << n << ", " << cycles
                        << " times: tag " << f.tag << " code " << static_cast<int>(f.code)
                        << " end " << (f.run_end - base) / page_size;
                },
                some);
        }
    }
    EXPECT_TRUE(fine);
    nothing_left();
}

// States of pages change and change back while the reservation stays.
TEST_F(region_map_readers, are_told_of_a_state_that_was) {
    const shape s = granules(1, base, 2, 4, page_code::reserved);
    const auto part = [](unsigned from, unsigned to) {
        return range{base + bytes_of(from), base + bytes_of(to)};
    };
    for (const unsigned cycles : {1u, 2u, 128u}) {
        found f;
        stepping::at_every_instruction(
            [&] {
                nothing_left();
                come(s);
                set(part(0, 4), page_code::rw); // two kinds
            },
            [&] { f = map.find(base + bytes_of(2)); },
            [&] {
                for (unsigned i = 0; i < cycles; ++i) {
                    set(part(0, 2), page_code::r);
                    set(part(6, 8), page_code::rx);
                    set(part(0, 8), page_code::reserved);
                    set(part(0, 16), page_code::rwx); // one kind
                    set(part(0, 16), page_code::reserved);
                    set(part(1, 3), page_code::r);
                    set(part(0, 16), page_code::reserved);
                    set(part(0, 4), page_code::rw);
                }
            },
            [&](std::uint64_t n) {
                const std::uint64_t end = (f.run_end - base) / page_size;
                const bool was = (f.code == page_code::rw && end == 4) ||
                                 (f.code == page_code::reserved && end >= 6 && end <= 32) ||
                                 (f.code == page_code::rwx && end == 16) ||
                                 (f.code == page_code::r && end == 3);
                EXPECT_TRUE(f.tag == s.tag && f.whole == s.where && was)
                    << "at instruction " << n << ", " << cycles << " times: tag " << f.tag
                    << " code " << static_cast<int>(f.code) << " end " << end;
            },
            many);
    }
    EXPECT_TRUE(fine);
    nothing_left();
}

TEST_F(region_map_readers, see_free_pages_or_the_reservation_that_comes) {
    const shape one = granules(1, base, 3, 4, page_code::rw);
    const shape above = granules(2, base + 16 * granule_size, 3, 4, page_code::rw);
    found f;
    address next = 0;
    const auto comes = [&] { come(one); };
    const auto prepare = [&] {
        nothing_left();
        come(above);
    };
    stepping::at_every_instruction(
        prepare, [&] { f = map.find(base + granule_size); }, comes,
        [&](std::uint64_t n) {
            EXPECT_EQ(wrong(f, base + granule_size, {one}), "") << "at instruction " << n;
        },
        many);
    stepping::at_every_instruction(
        prepare, [&] { next = map.next_base(base); }, comes,
        [&](std::uint64_t n) {
            EXPECT_TRUE(next == base || next == above.where.begin) << "at instruction " << n;
        },
        some);
    EXPECT_TRUE(fine);
    nothing_left();
}

#endif

// One thread makes reservations of several granules, commits a part, releases them, at the same
// addresses; others ask. Also where no stepping is possible.
TEST_F(region_map_readers, beside_reservations_that_come_and_go) {
    // By tag: where it begins, how long it is, what is committed at its beginning.
    const auto shape_of = [](std::uint64_t tag) {
        const address begin = base + tag % 3 * granule_size;
        return shape{tag,
                     {begin, begin + bytes_of(17 + tag % 70)},
                     static_cast<std::uint32_t>(tag % 251 + 1),
                     page_code::reserved};
    };
    constexpr page_count committed = 5;
    const shape stays = granules(0, base + 64 * granule_size, 1, 4, page_code::rw);
    come(stays);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> seen{0};
    std::atomic<int> failures{0};
    std::vector<std::thread> crew;
    for (unsigned t = 0; t < 2; ++t) {
        crew.emplace_back([&, t] {
            std::uint64_t n = 0;
            for (std::uint64_t i = t; !stop; ++i) {
                const address asked = base + bytes_of(i * 7 % 80);
                const found f = map.find(asked);
                bool good = f.at == asked;
                if (f.index != 0) {
                    const shape s = shape_of(f.tag);
                    const address split = s.where.begin + bytes_of(committed);
                    good = good && f.whole == s.where && f.protect == s.protect &&
                           s.where.contains(asked) && f.run_end > asked &&
                           f.run_end <= s.where.end &&
                           (f.code == page_code::rw ? asked < split && f.run_end == split
                                                    : f.code == page_code::reserved);
                    ++n;
                }
                const address next = map.next_base(base);
                good = good && (next == stays.where.begin || (next - base) / granule_size < 3);
                failures += good ? 0 : 1;
            }
            seen += n;
        });
    }
    // Until the readers have met many, on a machine of any speed.
    std::uint64_t made = 0;
    for (std::uint64_t tag = 1; made < 60'000; ++tag, ++made) {
        const shape s = shape_of(tag);
        come(s);
        set({s.where.begin, s.where.begin + bytes_of(committed)}, page_code::rw);
        go(s.where.begin);
    }
    stop = true;
    for (auto& one : crew) {
        one.join();
    }
    EXPECT_EQ(failures, 0);
    EXPECT_GT(seen, 0u);
    EXPECT_TRUE(fine);
    nothing_left();
}

} // namespace
} // namespace memreeve::vm
