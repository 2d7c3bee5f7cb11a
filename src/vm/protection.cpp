// SPDX-License-Identifier: MIT
#include "vm/protection.hpp"

#include "vm/win32.hpp"

namespace memreeve::vm {

namespace {

// One row per base protection. Row in full: PAGE_EXECUTE (10h) asks the kernel for read and
// execute, because x86-64 cannot execute without reading (G1); armed with PAGE_GUARD it becomes
// guard_x; the write-copy values have no page state of their own on private memory (P4).
struct row {
    std::uint32_t value;
    page_code plain;
    page_code guarded;
    access kernel;
};
constexpr row table[] = {
    {win32::page_noaccess, page_code::noaccess, page_code::outside, access::none},
    {win32::page_readonly, page_code::r, page_code::guard_r, access::read},
    {win32::page_readwrite, page_code::rw, page_code::guard_rw, access::read_write},
    {win32::page_writecopy, page_code::outside, page_code::outside, access::read_write},
    {win32::page_execute, page_code::x, page_code::guard_x, access::read_execute},
    {win32::page_execute_read, page_code::rx, page_code::guard_rx, access::read_execute},
    {win32::page_execute_readwrite, page_code::rwx, page_code::guard_rwx,
     access::read_write_execute},
    {win32::page_execute_writecopy, page_code::outside, page_code::outside,
     access::read_write_execute},
};

// The values are single bits, in the table's order.
const row* find(std::uint32_t base) noexcept {
    if (base == 0 || base > 0xff || (base & (base - 1)) != 0) {
        return nullptr;
    }
    return &table[__builtin_ctz(base)];
}
constexpr bool is_in_order() noexcept {
    for (unsigned bit = 0; bit < 8; ++bit) {
        if (table[bit].value != 1U << bit || table[bit].plain != plain_code(1U << bit)) {
            return false;
        }
    }
    return true;
}
static_assert(is_in_order());

} // namespace

result<protection> decode_protection(std::uint32_t value) noexcept {
    using namespace win32;
    const std::uint32_t base = value & 0xff;
    const row* r = find(base);
    if (r == nullptr) {
        return errc::invalid_argument; // P1
    }
    std::uint32_t known = 0xff | page_guard | page_nocache | page_writecombine;
    if (base >= page_execute) {
        known |= page_targets_invalid; // P3: Windows 10, with an execute protection only
    }
    if ((value & ~known) != 0) {
        return errc::invalid_argument; // P3
    }
    const std::uint32_t modifiers = value & (page_guard | page_nocache | page_writecombine);
    const bool several = (modifiers & (modifiers - 1)) != 0;
    if (several || (base == page_noaccess && modifiers != 0)) {
        return errc::invalid_argument; // P2
    }
    protection p;
    p.value = value;
    p.is_write_copy = r->plain == page_code::outside;
    p.code = (value & page_guard) != 0 ? r->guarded : r->plain;
    return p;
}

std::uint32_t encode_access(access a) noexcept {
    if (allows(a, access::read_write_execute)) {
        return win32::page_execute_readwrite;
    }
    if (allows(a, access::execute)) {
        return allows(a, access::write) ? win32::page_execute_readwrite : win32::page_execute_read;
    }
    if (allows(a, access::write)) {
        return win32::page_readwrite;
    }
    return allows(a, access::read) ? win32::page_readonly : win32::page_noaccess;
}

access access_of(std::uint32_t value) noexcept {
    const row* r = find(value & 0xff);
    return r != nullptr ? r->kernel : access::none;
}

} // namespace memreeve::vm
