// SPDX-License-Identifier: MIT
// Blocks of DebugAlloc: canaries, names, what is written after the free.
#include "misuse.hpp"

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>

namespace misuse {
namespace {

MISUSE(debug_twice) {
    char* const p = debug("p", size());
    free_it("p", p);
    free_it("p", p);
}

MISUSE(debug_interior) {
    char* const p = debug("p", size());
    free_wrong("wrong", p + number(1));
    free_it("p", p);
}

MISUSE(in_front) {
    char* const p = debug("p", size());
    free_wrong("wrong", p - number(1));
    free_it("p", p);
}

// NUMBER bytes behind the end, that many bytes, of that value.
MISUSE(behind) {
    char* const p = debug("p", size());
    write(p + size() + number(1), static_cast<char>(number(3)),
          static_cast<std::size_t>(number(2)));
    free_it("p", p);
}

MISUSE(before) {
    char* const p = debug("p", size());
    write(p - number(1), static_cast<char>(number(3)), static_cast<std::size_t>(number(2)));
    free_it("p", p);
}

MISUSE(on_both_sides) {
    char* const p = debug("p", size());
    write(p - 1, 1);
    write(p + size(), 1);
    free_it("p", p);
    write(p - 1, 2);
    free_it("p", p);
}

MISUSE(string_too_long) {
    char* const p = debug("p", size(), "string.c", 33);
    write(p, 'a', size());
    write(p + size(), '\0');
    free_it("p", p);
}

MISUSE(told_each_time) {
    char* const p = debug("p", size());
    write(p + size(), 1);
    free_it("p", p);
    free_it("p", p);
    list();
}

MISUSE(made_good) {
    char* const p = debug("p", size());
    const char was = read(p + size());
    write(p + size(), 1);
    free_it("p", p);
    write(p + size(), was);
    free_it("p", p);
}

MISUSE(copied_with_its_canary) {
    char* const p = debug("p", size());
    char* const q = debug("q", size());
    copy(p, q, size() + 16);
    free_it("p", p);
    free_it("q", q);
}

MISUSE(neighbour) {
    char* const p = debug("p", size(), "first.c", 1);
    char* const q = debug("q", size(), "second.c", 2);
    char* const low = p < q ? p : q;
    char* const high = p < q ? q : p;
    write(low + size(), 1, static_cast<std::size_t>(high - low) - size());
    name("low", low);
    name("high", high);
    free_it("high", high);
    free_it("low", low);
}

MISUSE(after_free) {
    char* const p = debug("p", size());
    free_it("p", p);
    write(p + number(1), 1);
    void* q = nullptr;
    heap->DebugAlloc(size(), eTaskCritical, nullptr, 8, &q);
    std::printf("%s\n", q == p ? "the same again" : "another");
    free_it("q", q);
}

MISUSE(read_after_free) {
    char* const p = debug("p", size());
    write(p, 'x', size());
    free_it("p", p);
    std::printf("%02x %02x\n", read(p) & 0xff, read(p + size() - 1) & 0xff);
}

MISUSE(nothing_written_after_free) {
    char* const p = debug("p", size());
    free_it("p", p);
    char* const q = debug("q", size());
    free_it("q", q);
}

MISUSE(without_a_name) {
    void* p = nullptr;
    heap->DebugAlloc(size(), eTaskCritical, nullptr, static_cast<int>(number(1)), &p);
    name("p", p);
    free_it("p", p);
    free_it("p", p);
}

void named(const char* file) {
    char* const p = debug("p", size(), file, 1);
    free_it("p", p);
    free_it("p", p);
}

MISUSE(with_a_long_name) { named((std::string(3000, 'd') + "/the_end.c").c_str()); }

MISUSE(with_an_empty_name) { named(""); }

MISUSE(with_control_characters) { named("a\n\033[31mb.c"); }

MISUSE(with_a_transient_name) {
    char file[32] = "was_here.c";
    char* const p = debug("p", size(), file, 5);
    std::strcpy(file, "overwritten");
    free_it("p", p);
    free_it("p", p);
}

MISUSE(debug_of_another_heap) {
    IHostMalloc* const other = another();
    char* const p = debug("p", size());
    free_it("p", p, other);
    free_it("p", p);
    other->Release();
}

MISUSE(used_as_plain_later) {
    char* const p = debug("p", size());
    free_it("p", p);
    char* const q = alloc("q", size());
    free_it("q", q);
    free_it("q", q);
}

} // namespace
} // namespace misuse
