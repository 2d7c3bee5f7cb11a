// SPDX-License-Identifier: MIT
// The malloc family of libc (glibc 2.36's manual pages and errors). Each forwards; what is decided
// here is only what the names mean. C++ operators, strdup, stdio and the loader come through these.
//
//   not governed       libc's own, by the names it exports for that: no dlsym, so no recursion
//   governed           IHostMalloc of the owner malloc (allocation.hpp)
//   errno              ENOMEM or EINVAL on failure, untouched on success and by free
//   malloc(0)          a block of its own; realloc(p, 0) frees
//   > PTRDIFF_MAX      ENOMEM
#include "bridge/allocation.hpp"
#include "bridge/text.hpp"
#include "prim/prim.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>

using namespace memreeve;

extern "C" {
void* __libc_malloc(size_t) noexcept;
void* __libc_calloc(size_t, size_t) noexcept;
void* __libc_realloc(void*, size_t) noexcept;
void* __libc_memalign(size_t, size_t) noexcept;
void __libc_free(void*) noexcept;
int __libc_mallopt(int, int) noexcept;
}

#define MEMREEVE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

void* refused(void* block) noexcept {
    if (__builtin_expect(block == nullptr, 0)) {
        errno = ENOMEM;
    }
    return block;
}

bool is_too_large(size_t size) noexcept { return size > PTRDIFF_MAX; }

void* align(size_t alignment, size_t size, const void* caller) noexcept {
    bridge::state* s = bridge::governed();
    if (s == nullptr) {
        return __libc_memalign(alignment, size);
    }
    return refused(is_too_large(size) || is_too_large(alignment + size)
                       ? nullptr
                       : bridge::allocate_aligned(*s, size, alignment, caller));
}

// What libc exports under no other name; asked for only where there is no heap of ours.
template <class Function>
Function libc_function(const char* name) noexcept {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// A program or another preloaded library may bring a malloc that is found before this one. Everybody
// uses that then, which works; what it holds comes by mmap. The closing lines say so.
__attribute__((constructor)) void look_for_another() {
    bridge::state* s = bridge::governed();
    if (s == nullptr || s->is_embedded()) {
        return;
    }
    Dl_info found{};
    Dl_info own{};
    void* symbol = nullptr;
    if (dladdr1(dlsym(RTLD_DEFAULT, "malloc"), &found, &symbol, RTLD_DL_SYMENT) == 0 ||
        // A program at a fixed address that takes malloc's address names a call to it, not its own.
        (symbol != nullptr && static_cast<const ElfW(Sym)*>(symbol)->st_shndx == SHN_UNDEF) ||
        dladdr(reinterpret_cast<void*>(&look_for_another), &own) == 0 ||
        found.dli_fbase == own.dli_fbase || s->image().note[0] != '\0') {
        return;
    }
    bridge::line l;
    l.add("the malloc of ").add(bridge::base_name(found.dli_fname));
    l.add(" comes before memreeve's: what it holds is measured, not refused block by block");
    const char* text = l.text();
    for (std::size_t i = 0; i + 1 < sizeof s->image().note && text[i] != '\0' && text[i] != '\n';
         ++i) {
        s->image().note[i] = text[i];
    }
}

} // namespace

MEMREEVE_EXPORT void* malloc(size_t size) noexcept {
    bridge::state* s = bridge::governed();
    if (s == nullptr) {
        return __libc_malloc(size);
    }
    return refused(is_too_large(size) ? nullptr
                                      : bridge::allocate(*s, size, __builtin_return_address(0)));
}

MEMREEVE_EXPORT void* calloc(size_t count, size_t size) noexcept {
    bridge::state* s = bridge::governed();
    if (s == nullptr) {
        return __libc_calloc(count, size);
    }
    size_t whole = 0;
    return refused(__builtin_mul_overflow(count, size, &whole) || is_too_large(whole)
                       ? nullptr
                       : bridge::allocate_zeroed(*s, whole, __builtin_return_address(0)));
}

MEMREEVE_EXPORT void free(void* block) noexcept {
    if (block == nullptr) {
        return;
    }
    bridge::state* s = bridge::holding();
    if (s == nullptr || bridge::release(*s, block) == bridge::whose::not_ours) {
        __libc_free(block);
    }
}

MEMREEVE_EXPORT void cfree(void* block) noexcept { free(block); }

static void* change_size(void* block, size_t size, const void* caller) noexcept {
    bridge::state* s = bridge::holding();
    if (s == nullptr) {
        return __libc_realloc(block, size);
    }
    if (block == nullptr) {
        bridge::state* const giving = bridge::governed();
        return giving == nullptr    ? __libc_malloc(size)
               : is_too_large(size) ? refused(nullptr)
                                    : refused(bridge::allocate(*giving, size, caller));
    }
    if (size == 0) {
        free(block);
        return nullptr;
    }
    if (is_too_large(size)) {
        errno = ENOMEM;
        return nullptr;
    }
    void* moved = nullptr;
    return bridge::resize(*s, block, size, &moved, caller) == bridge::whose::ours
               ? refused(moved)
               : __libc_realloc(block, size);
}

MEMREEVE_EXPORT void* realloc(void* block, size_t size) noexcept {
    return change_size(block, size, __builtin_return_address(0));
}

MEMREEVE_EXPORT void* reallocarray(void* block, size_t count, size_t size) noexcept {
    size_t whole = 0;
    if (__builtin_mul_overflow(count, size, &whole)) {
        errno = ENOMEM;
        return nullptr;
    }
    return change_size(block, whole, __builtin_return_address(0));
}

// An alignment that is no power of two is rounded up to one, as glibc does up to 2.37.
static void* align_as_asked(size_t alignment, size_t size, const void* caller) noexcept {
    constexpr size_t largest = SIZE_MAX / 2 + 1;
    if (alignment > largest) {
        errno = EINVAL;
        return nullptr;
    }
    size_t rounded = alignof(std::max_align_t);
    while (rounded < alignment) {
        rounded *= 2;
    }
    return align(rounded, size, caller);
}

MEMREEVE_EXPORT void* memalign(size_t alignment, size_t size) noexcept {
    return align_as_asked(alignment, size, __builtin_return_address(0));
}

MEMREEVE_EXPORT void* aligned_alloc(size_t alignment, size_t size) noexcept {
    return align_as_asked(alignment, size, __builtin_return_address(0));
}

// The error is the result; errno is left alone.
MEMREEVE_EXPORT int posix_memalign(void** out, size_t alignment, size_t size) noexcept {
    if (alignment == 0 || alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0) {
        return EINVAL;
    }
    const int before = errno;
    void* block = align_as_asked(alignment, size, __builtin_return_address(0));
    errno = before;
    if (block == nullptr) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

MEMREEVE_EXPORT void* valloc(size_t size) noexcept {
    return align(page_size, size, __builtin_return_address(0));
}

MEMREEVE_EXPORT void* pvalloc(size_t size) noexcept {
    if (is_too_large(size)) {
        errno = ENOMEM;
        return nullptr;
    }
    return align(page_size, round_up(size, page_size), __builtin_return_address(0));
}

MEMREEVE_EXPORT size_t malloc_usable_size(void* block) noexcept {
    if (block == nullptr) {
        return 0;
    }
    byte_count size = 0;
    bridge::state* s = bridge::holding();
    if (s != nullptr && bridge::usable_size(*s, block, &size) == bridge::whose::ours) {
        return size;
    }
    const auto libc = libc_function<size_t (*)(void*)>("malloc_usable_size");
    return libc != nullptr ? libc(block) : 0;
}

// 1 when something went back to the system.
MEMREEVE_EXPORT int malloc_trim(size_t pad) noexcept {
    bridge::state* s = bridge::holding();
    const bool ours = s != nullptr && s->heap().blocks().trim() != 0;
    if (s != nullptr && bridge::governed() != nullptr) {
        return ours ? 1 : 0;
    }
    const auto libc = libc_function<int (*)(size_t)>("malloc_trim");
    return (libc != nullptr && libc(pad) != 0) || ours ? 1 : 0;
}

// Tuning parameters are libc's; ours has none, so each is accepted and without effect.
MEMREEVE_EXPORT int mallopt(int parameter, int value) noexcept {
    return bridge::governed() != nullptr ? 1 : __libc_mallopt(parameter, value);
}

MEMREEVE_EXPORT struct mallinfo2 mallinfo2() noexcept {
    struct mallinfo2 info {};
    if (bridge::state* s = bridge::governed()) {
        const heap::heap_stats now = s->heap().blocks().stats();
        info.arena = bytes_of(now.pages_held);
        info.uordblks = now.live_bytes;
        info.fordblks = info.arena - info.uordblks;
        return info;
    }
    const auto libc = libc_function<struct mallinfo2 (*)()>("mallinfo2");
    return libc != nullptr ? libc() : info;
}

// The old form: counters that wrap (glibc's manual says so).
MEMREEVE_EXPORT struct mallinfo mallinfo() noexcept {
    const struct mallinfo2 now = mallinfo2();
    struct mallinfo info {};
    info.arena = static_cast<int>(now.arena);
    info.ordblks = static_cast<int>(now.ordblks);
    info.smblks = static_cast<int>(now.smblks);
    info.hblks = static_cast<int>(now.hblks);
    info.hblkhd = static_cast<int>(now.hblkhd);
    info.usmblks = static_cast<int>(now.usmblks);
    info.fsmblks = static_cast<int>(now.fsmblks);
    info.uordblks = static_cast<int>(now.uordblks);
    info.fordblks = static_cast<int>(now.fordblks);
    info.keepcost = static_cast<int>(now.keepcost);
    return info;
}

MEMREEVE_EXPORT void malloc_stats() noexcept {
    if (bridge::state* s = bridge::governed()) {
        const heap::heap_stats now = s->heap().blocks().stats();
        bridge::line l;
        l.add("memreeve: malloc: ").add_number(bytes_of(now.pages_held));
        l.add(" bytes held, ").add_number(now.live_bytes).add(" in use in ");
        l.add_number(now.live_blocks).add(" blocks");
        prim::say(l.text());
        return;
    }
    if (const auto libc = libc_function<void (*)()>("malloc_stats"); libc != nullptr) {
        libc();
    }
}
