// SPDX-License-Identifier: MIT
#include "bridge/runtime_shares.hpp"

namespace memreeve::bridge {

namespace {

constexpr byte_count least_of(byte_count a, byte_count b) noexcept { return a < b ? a : b; }
constexpr byte_count most_of(byte_count a, byte_count b) noexcept { return a > b ? a : b; }

// What a JVM holds beside heap, metaspace and code cache: `fixed` with two processors, charged and
// touched, so much more for each of its collector's threads, and so many 1024ths of the heap.
struct beside_java_heap {
    const char* name;
    byte_count fixed, worker, of_heap;
    byte_count least_heap; // that a JVM says hello with
};
constexpr beside_java_heap beside[java_collector_count] = {
    {"G1", 66 * mib, 3584 << 10, 48, 6 * mib},         {"Serial", 20 * mib, 256 << 10, 8, 4 * mib},
    {"Parallel", 31 * mib, 3328 << 10, 38, 4 * mib},   {"ZGC", 92 * mib, 256 << 10, 52, 8 * mib},
    {"Shenandoah", 31 * mib, 1024 << 10, 48, 8 * mib},
};
constexpr const beside_java_heap& row_of(java_collector c) noexcept {
    return beside[static_cast<unsigned>(c)];
}

// As HotSpot counts ParallelGCThreads; the figures are of two.
constexpr byte_count workers_beyond_two(unsigned processors) noexcept {
    const unsigned workers = processors <= 8 ? processors : 8 + (processors - 8) * 5 / 8;
    return workers > 2 ? workers - 2 : 0;
}

constexpr byte_count usual_code_cache = 240 * mib; // HotSpot's own ReservedCodeCacheSize
constexpr byte_count most_metaspace = 1024 * mib;
constexpr byte_count hello_beside =
    6 * mib; // metaspace and code cache of a program that says hello

// The user's size instead of ours. It is a ceiling, and often a generous one: a heap made small for
// what is hardly ever used there would end programs that fit, so that at most twice ours is counted.
constexpr byte_count counted(const chosen_size& users, byte_count ours) noexcept {
    return users.is_there ? least_of(users.bytes, 2 * ours) : ours;
}

} // namespace

const char* name_of(java_collector collector) noexcept { return row_of(collector).name; }

byte_count coreclr_heap_limit(byte_count limit) noexcept {
    constexpr byte_count fixed = 16 * mib;
    const byte_count beside_heap = most_of(limit / 4, fixed);
    return limit < coreclr_start.least ? 0 : round_down(limit - beside_heap, page_size);
}

byte_count coreclr_region_range(byte_count heap_limit, byte_count region, unsigned heaps) noexcept {
    // A heap begins with 19 regions' room; without it in five times the limit CoreCLR does not start. Of
    // regions whose size it chooses it wants half to be left.
    constexpr byte_count beginning = 19;
    constexpr byte_count too_large = byte_count{2048} * mib; // CoreCLR takes no such region
    const byte_count wanted = region < too_large ? 2 * beginning * region * heaps : 0;
    return wanted > 5 * heap_limit ? wanted : 0;
}

java_shares shares_for_java(byte_count limit, byte_count reserve, java_collector collector,
                            unsigned processors, const java_options& users) noexcept {
    const beside_java_heap& b = row_of(collector);
    const byte_count metaspace = counted(users.metaspace, least_of(limit / 8, most_metaspace));
    const byte_count code = counted(users.code_cache, least_of(limit / 12, usual_code_cache));
    const byte_count direct = counted(users.direct, limit / 16);
    // Threads, the compilers' work, and what HotSpot keeps of classes outside of metaspace.
    const byte_count native = limit / 8;
    const byte_count needed = reserve + b.fixed + b.worker * workers_beyond_two(processors);
    const byte_count all = needed + metaspace + code + direct + native;
    byte_count heap = all < limit ? (limit - all) / (1024 + b.of_heap) * 1024 : 0;
    java_shares s;
    if (heap < b.least_heap) {
        // Too tight for every part to have its share: enough to start with.
        if (needed + b.least_heap + hello_beside > limit) {
            return s;
        }
        heap = b.least_heap;
    }
    s.heap = round_down(heap, mib);
    s.metaspace = users.metaspace.is_there ? 0 : round_down(metaspace, mib);
    s.code_cache =
        users.code_cache.is_there || code >= usual_code_cache ? 0 : round_down(code, mib);
    s.direct = users.direct.is_there ? 0 : round_down(direct, mib);
    return s;
}

byte_count smallest_java_limit(java_collector collector, unsigned processors) noexcept {
    constexpr byte_count step = 8 * mib;
    byte_count limit = 2 * step;
    while (shares_for_java(limit, most_of(limit / 20, 8 * mib), collector, processors, {}).heap ==
           0) {
        limit += step;
    }
    return limit;
}

node_shares shares_for_node(byte_count limit, byte_count reserve, bool sets_semi_space,
                            byte_count users_semi_space) noexcept {
    // The young generation is three semi spaces; V8's own are 16 MiB each. Of the user's as much is
    // counted as leaves the old one something.
    const byte_count semi = !sets_semi_space     ? 0
                            : limit <= 128 * mib ? 1
                            : limit < 512 * mib  ? 4
                                                 : 0;
    const byte_count users_young = 3 * least_of(users_semi_space, limit);
    const byte_count fixed = users_semi_space != 0 ? least_of(users_young + 16 * mib, limit / 2)
                                                   : (semi == 1   ? 20
                                                      : semi == 4 ? 28
                                                                  : 52) *
                                                         mib;
    constexpr byte_count least = 8 * mib; // that Node starts with, with room for a program
    const byte_count all = reserve + fixed + limit / 8;
    // What V8 keeps about the heap's objects beside the heap: a tenth of it.
    const byte_count old = all < limit ? (limit - all) / 11 * 10 : 0;
    return {most_of(old, least) / mib, semi};
}

} // namespace memreeve::bridge
