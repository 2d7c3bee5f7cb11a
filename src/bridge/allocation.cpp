// SPDX-License-Identifier: MIT
#include "bridge/allocation.hpp"

#include "bridge/asking.hpp"
#include "bridge/levels.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

namespace memreeve::bridge {

namespace {

address number(const void* p) noexcept { return reinterpret_cast<address>(p); }

void* pointer(const result<address>& r) noexcept {
    return r ? reinterpret_cast<void*>(*r) : nullptr;
}

criticality level_of_block(state& s, byte_count size) noexcept {
    return level_for(s, telemetry::purpose::malloc, size);
}

// In words of libc's own messages, so that who searches for them finds the cause.
[[noreturn]] void end_program(state& s, const char* call, const void* block) noexcept {
    const heap::misuse what = s.heap().blocks().explain(number(block));
    line l;
    l.add("memreeve: ").add(call).add("(): ");
    l.add(what.kind == heap::misuse_kind::freed ? "double free " : "invalid pointer ");
    l.add_hexadecimal(number(block)).add(": ");
    manager::add_misuse(l, what);
    l.add("; the program ends as under libc (SIGABRT)");
    prim::say(l.text());
    prim::end_by_abort();
}

} // namespace

void* allocate_after(state& s, heap::attempt a, byte_count size, const void* caller) noexcept {
    const asking by(caller);
    return pointer(s.heap().blocks().allocate_after(a, size, level_of_block(s, size)));
}

void* allocate_zeroed(state& s, byte_count size, const void* caller) noexcept {
    const asking by(caller);
    return pointer(s.heap().blocks().allocate_zeroed(size, level_of_block(s, size)));
}

void* allocate_aligned(state& s, byte_count size, byte_count alignment,
                       const void* caller) noexcept {
    const asking by(caller);
    return pointer(s.heap().blocks().allocate_aligned(size, alignment, level_of_block(s, size)));
}

whose release_otherwise(state& s, void* block) noexcept {
    if (s.heap().blocks().free_otherwise(number(block))) {
        return whose::ours;
    }
    if (s.heap().blocks().owns(number(block))) {
        end_program(s, "free", block);
    }
    return whose::not_ours;
}

whose resize(state& s, void* block, byte_count size, void** out, const void* caller) noexcept {
    const asking by(caller);
    const result<address> moved =
        s.heap().blocks().resize(number(block), size, level_of_block(s, size));
    *out = pointer(moved);
    if (!moved && moved.error().code == errc::not_ours) {
        if (s.heap().blocks().owns(number(block))) {
            end_program(s, "realloc", block);
        }
        return whose::not_ours;
    }
    return whose::ours;
}

whose usable_size(state& s, const void* block, byte_count* out) noexcept {
    *out = s.heap().blocks().size_of(number(block));
    return *out != 0 || s.heap().blocks().owns(number(block)) ? whose::ours : whose::not_ours;
}

} // namespace memreeve::bridge
