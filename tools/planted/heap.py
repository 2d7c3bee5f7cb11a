# SPDX-License-Identifier: MIT
"""In the heap: src/heap."""

from planted import CORPUS

FAULTS = [
    ("a heap block freed twice is accepted", "src/heap/cache.cpp",
     "    if (!state.compare_exchange_strong(live, MEMREEVE_HEAP_CHECKS ? 0 : live,\n"
     "                                       std::memory_order_acq_rel)) {",
     "    state.store(0, std::memory_order_relaxed);\n    if (live == 0) {", "stress_heap_random_test"),
    ("a zeroed block shows what was there", "src/heap/large.cpp",
     "        std::memset(reinterpret_cast<void*>(*got), 0, size);\n", "", "stress_heap_random_test"),
    ("a block that moves leaves its last page behind", "src/heap/large.cpp",
     "                new_size < usable ? new_size : usable);",
     "                new_size < usable ? new_size : usable / 2);", "stress_heap_random_test"),
    ("trim says nothing of slabs", "src/heap/cache.cpp",
     "return kept + (after < before ? bytes_of(before - after) : 0);", "return kept;",
     "stress_heap_random_test"),
    ("an aligned block lies where it likes", "src/heap/large.cpp",
     "const byte_count padded = round_up(size == 0 ? 1 : size, alignment);",
     "const byte_count padded = size == 0 ? 1 : size;", "heap_operations_replay",
     [f"{CORPUS}/heap_operations"]),
    ("a thread takes another heap's cache for this one's", "src/heap/cache.hpp",
     "        return is_ours;\n#else", "        return is_ours || slot().mine != nullptr;\n#else",
     "heap_cache_test"),
    ("a block freed the slow way is lost", "src/heap/cache.cpp",
     "    c->push(d.bin, block, state);\n    c->know(d.bin);\n", "    c->know(d.bin);\n", "heap_cache_test"),
    ("a block freed without a cache is lost", "src/heap/cache.cpp",
     "        return_blocks(d, f.block / 64, std::uint64_t{1} << (f.block % 64));\n", "", "heap_cache_test"),
    ("a handler during trim takes a left cache for its own", "src/heap/cache.cpp",
     "    cache_slot& slot = door_.slot();\n    const", "    cache_slot slot = door_.slot();\n    const",
     "stress_heap_steps_test"),
    ("a stopped free of a large block frees the next one", "src/heap/large.cpp",
     "    if (d.large_block() != block || !is_intact(d)) {", "    if (block == 0 || !is_intact(d)) {",
     "stress_heap_steps_test"),
    ("a stopped free of a block whose slab has moved frees another", "src/heap/cache.cpp",
     "    if (d.base.load(std::memory_order_acquire) + address{f.block} * d.block_size != block) {", "    if (false) {",
     "stress_heap_steps_test"),
    ("counts that were told torn stay so", "src/heap/cache.cpp",
     "        return now - told.exchange(now, std::memory_order_relaxed);",
     "        const std::uint64_t before = told.load(std::memory_order_relaxed);\n"
     "        told.store(before < now ? now : before, std::memory_order_relaxed);\n"
     "        return before < now ? now - before : 0;", "heap_counts_steps_test"),
    ("a report reads canaries that may be gone", "src/heap/debug_blocks.cpp",
     "    const page_source::peeked p = source_.peek(from, &to, sizeof to);",
     "    const auto p = page_source::peeked::not_allowed;", "stress_heap_steps_test"),
]
