// SPDX-License-Identifier: MIT
// A region map over memory of the test's own, and a look at its words.
#pragma once

#include "vm/region_map.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace memreeve::vm {

constexpr byte_count node_space = byte_count{64} << 20;
constexpr byte_count reservation_space = byte_count{16} << 20;

struct area {
    explicit area(byte_count bytes) : size(bytes) {
        at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        EXPECT_NE(at, MAP_FAILED);
    }
    area(const area&) = delete;
    area& operator=(const area&) = delete;
    ~area() { munmap(at, size); }
    address begin() const { return reinterpret_cast<address>(at); }
    void* at;
    byte_count size;
};

struct map_fixture : testing::Test {
    area root{region_map::root_entries * sizeof(std::uint64_t)};
    area node_area{node_space};
    area reservation_area{reservation_space};
    record_array nodes;
    record_array reservations;
    region_map map;
    static inline std::atomic<byte_count> grow_limit{~byte_count{0}};
    static inline std::atomic<byte_count> grown{0};

    void SetUp() override {
        grow_limit = ~byte_count{0};
        grown = 0;
        const auto grow = [](address, byte_count size) noexcept {
            return grown.fetch_add(size) + size > grow_limit ? 12 : 0;
        };
        nodes.open(node_area.begin(), node_space, region_map::node_unit, grow);
        reservations.open(reservation_area.begin(), reservation_space, sizeof(reservation), grow);
        map.open(static_cast<std::atomic<std::uint64_t>*>(root.at), &nodes, &reservations);
    }
    // An empty map again, over empty memory.
    void begin_anew() {
        for (const area* a : {&root, &node_area, &reservation_area}) {
            madvise(a->at, a->size, MADV_DONTNEED);
        }
        std::destroy_at(&map);
        std::construct_at(&map);
        SetUp();
    }
    void TearDown() override { EXPECT_STREQ(map.check_invariants(), nullptr); }

    std::uint32_t reserve(range where, page_code code = page_code::reserved,
                          std::uint32_t protect = 4) {
        const std::uint32_t index = map.make(where, owner_id::root, protect, 0, 0);
        EXPECT_NE(index, 0u);
        EXPECT_TRUE(map.prepare(where));
        map.install(index, code);
        return index;
    }
    bool set(range where, page_code code) {
        const found f = map.find(where.begin);
        if (map.claim(f.index, f.life, where) != claim_outcome::claimed) {
            return false;
        }
        publish(f.index, where, code);
        return true;
    }
    // What address_space does at keep: the count of living pages follows the dead ones.
    void publish(std::uint32_t index, range where, page_code code) {
        page_count were_dead = 0;
        map.for_each_run(where, [&](range run, page_code c, bool) {
            were_dead += c == page_code::dead ? run.pages() : 0;
        });
        const page_count are_dead = code == page_code::dead ? where.pages() : 0;
        map.at(index).living.fetch_add(were_dead - are_dead);
        map.publish(where, code, false);
    }
    // The deepest word that covers `a`, and its level.
    std::uint64_t word_at(address a, unsigned* level_out = nullptr) const {
        using namespace map_detail;
        const auto* words = static_cast<const std::atomic<std::uint64_t>*>(root.at);
        for (unsigned level = 0;; ++level) {
            const std::uint64_t w = words[slot_of(a, level)].load();
            if (level == granule_level || kind_of(w) != kind::node) {
                if (level_out != nullptr) {
                    *level_out = level;
                }
                return w;
            }
            words = static_cast<const std::atomic<std::uint64_t>*>(nodes.at(node_of(w)));
        }
    }
    map_detail::kind kind_at(address a) const { return map_detail::kind_of(word_at(a)); }
    const char* check_with_claims() const {
        return map.check_invariants(region_map::at_rest::claims_allowed);
    }
    // Nothing more is to be had.
    void use_up_memory() {
        grow_limit = 0;
        while (nodes.take(1) != record_array::none) {
        }
    }
    void release(address base) {
        const found f = map.find(base);
        ASSERT_EQ(map.claim(f.index, f.life, f.whole), claim_outcome::claimed);
        map.remove(f.index);
        map.forget(f.index);
    }
};

inline range pages(address base, unsigned first, unsigned count) {
    return {base + bytes_of(first), base + bytes_of(first + count)};
}

} // namespace memreeve::vm
