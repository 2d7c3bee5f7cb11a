// SPDX-License-Identifier: MIT
// Under AddressSanitizer free blocks may not be touched: whoever reads or writes one is told where
// (use-after-poison). In any other build this is nothing.
//
// The heap itself holds to it: a block is opened before it is handed out, filled or copied into, and
// closed before anybody else can have it; pages that go back to the source are open, because the next
// to have them knows nothing of it.
#pragma once

#include "base/units.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMREEVE_HEAP_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define MEMREEVE_HEAP_POISONS 1
#endif

#if defined(MEMREEVE_HEAP_POISONS)
extern "C" void __asan_poison_memory_region(const volatile void* at, std::size_t size);
extern "C" void __asan_unpoison_memory_region(const volatile void* at, std::size_t size);
#endif

namespace memreeve::heap {

inline void close_to_use([[maybe_unused]] address at, [[maybe_unused]] byte_count size) noexcept {
#if defined(MEMREEVE_HEAP_POISONS)
    __asan_poison_memory_region(reinterpret_cast<const void*>(at), size);
#endif
}

inline void open_to_use([[maybe_unused]] address at, [[maybe_unused]] byte_count size) noexcept {
#if defined(MEMREEVE_HEAP_POISONS)
    __asan_unpoison_memory_region(reinterpret_cast<const void*>(at), size);
#endif
}

} // namespace memreeve::heap
