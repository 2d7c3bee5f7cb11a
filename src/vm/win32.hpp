// SPDX-License-Identifier: MIT
// Win32's numbers for memory, as plain integers: the only words of Windows below the COM edge.
// Values: hosting-api section 2.2.
#pragma once

#include <cstdint>

namespace memreeve::vm::win32 {

inline constexpr std::uint32_t mem_commit = 0x1000;
inline constexpr std::uint32_t mem_reserve = 0x2000;
inline constexpr std::uint32_t mem_decommit = 0x4000;
inline constexpr std::uint32_t mem_release = 0x8000;
inline constexpr std::uint32_t mem_free = 0x10000;
inline constexpr std::uint32_t mem_private = 0x20000;
inline constexpr std::uint32_t mem_mapped = 0x40000;
inline constexpr std::uint32_t mem_reset = 0x80000;
inline constexpr std::uint32_t mem_top_down = 0x100000;
inline constexpr std::uint32_t mem_write_watch = 0x200000;
inline constexpr std::uint32_t mem_physical = 0x400000;
inline constexpr std::uint32_t mem_reset_undo = 0x1000000;
inline constexpr std::uint32_t mem_coalesce_placeholders = 0x1; // with mem_release
inline constexpr std::uint32_t mem_preserve_placeholder = 0x2;  // with mem_release
inline constexpr std::uint32_t mem_replace_placeholder = 0x4000;
inline constexpr std::uint32_t mem_reserve_placeholder = 0x40000;
inline constexpr std::uint32_t mem_image = 0x1000000;
inline constexpr std::uint32_t mem_large_pages = 0x20000000;

inline constexpr std::uint32_t page_noaccess = 0x01;
inline constexpr std::uint32_t page_readonly = 0x02;
inline constexpr std::uint32_t page_readwrite = 0x04;
inline constexpr std::uint32_t page_writecopy = 0x08;
inline constexpr std::uint32_t page_execute = 0x10;
inline constexpr std::uint32_t page_execute_read = 0x20;
inline constexpr std::uint32_t page_execute_readwrite = 0x40;
inline constexpr std::uint32_t page_execute_writecopy = 0x80;
inline constexpr std::uint32_t page_guard = 0x100;
inline constexpr std::uint32_t page_nocache = 0x200;
inline constexpr std::uint32_t page_writecombine = 0x400;
inline constexpr std::uint32_t page_targets_invalid = 0x40000000;

// The modifiers that belong to the reservation (rule P6).
inline constexpr std::uint32_t page_cache_bits = page_nocache | page_writecombine;

} // namespace memreeve::vm::win32
