// SPDX-License-Identifier: MIT
// heap_misuse CASE [NUMBER...]: does one thing to a heap of IHostMemoryManager that a program must not,
// prints what it was answered, and whether everything else still works. tests/misuse says which text
// that must be. Addresses are printed as `name = address`, for who reads the reports.
#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

mrv_host* host;
mrv_owner* owner;
IHostMemoryManager* memory;
IHostMalloc* heap;
std::vector<long> numbers;

long number(std::size_t i) { return i < numbers.size() ? numbers[i] : 0; }
std::size_t size() { return numbers.empty() ? 100 : static_cast<std::size_t>(numbers[0]); }

const char* code(HRESULT hr) {
    static char other[16];
    switch (static_cast<unsigned>(hr)) {
    case 0: return "S_OK";
    case 0x80131022: return "HOST_E_INVALIDOPERATION";
    case 0x8007000e: return "E_OUTOFMEMORY";
    case 0x80070057: return "E_INVALIDARG";
    case 0x80004003: return "E_POINTER";
    default: std::snprintf(other, sizeof other, "0x%08x", static_cast<unsigned>(hr)); return other;
    }
}

void status(const char* call, mrv_status s) { std::printf("%s: %s\n", call, mrv_status_text(s)); }

void name(const char* what, const void* p) {
    std::printf("%s = 0x%lx\n", what, reinterpret_cast<unsigned long>(p));
}

char* alloc(const char* what, std::size_t bytes, IHostMalloc* from = nullptr) {
    void* p = nullptr;
    if ((from != nullptr ? from : heap)->Alloc(bytes, eTaskCritical, &p) != S_OK) {
        std::abort();
    }
    name(what, p);
    return static_cast<char*>(p);
}

char* debug(const char* what, std::size_t bytes, const char* file = "plugin.c", int line = 7) {
    void* p = nullptr;
    if (heap->DebugAlloc(bytes, eTaskCritical, const_cast<char*>(file), line, &p) != S_OK) {
        std::abort();
    }
    name(what, p);
    return static_cast<char*>(p);
}

void free_it(const char* what, const void* p, IHostMalloc* of = nullptr) {
    const HRESULT hr = (of != nullptr ? of : heap)->Free(const_cast<void*>(p));
    std::printf("Free(%s): %s\n", what, code(hr));
}

void free_wrong(const char* what, const void* p) {
    name(what, p);
    free_it(what, p);
}

// What the program does behind the heap's back: byte by byte, unseen by a sanitizer.
__attribute__((noinline, no_sanitize("address", "thread"))) void write(char* p, char value,
                                                                       std::size_t n = 1) {
    volatile char* to = p;
    for (std::size_t i = 0; i < n; ++i) {
        to[i] = value;
    }
}
__attribute__((noinline, no_sanitize("address", "thread"))) char read(const char* p) {
    return *static_cast<const volatile char*>(p);
}
__attribute__((noinline, no_sanitize("address", "thread"))) void copy(char* to, const char* from,
                                                                      std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        static_cast<volatile char*>(to)[i] = static_cast<const volatile char*>(from)[i];
    }
}

IHostMalloc* another(DWORD flags = MALLOC_THREADSAFE, IHostMemoryManager* of = nullptr) {
    IHostMalloc* made = nullptr;
    if ((of != nullptr ? of : memory)->CreateMalloc(flags, &made) != S_OK) {
        std::abort();
    }
    return made;
}

int print_block(void* context, const mrv_live_block* b) {
    const auto n = static_cast<int*>(context);
    std::printf("live: %llu bytes, %s:%d, heap %u\n", static_cast<unsigned long long>(b->bytes),
                b->file != nullptr ? b->file : "(none)", b->line, b->heap);
    name("told", b->address);
    return n != nullptr && --*n == 0;
}
void list(int most = 0) {
    status("leaks", mrv_owner_leaks(owner, print_block, most != 0 ? &most : nullptr));
}

int count_block(void* context, const mrv_live_block*) {
    ++*static_cast<unsigned*>(context);
    return 0;
}
unsigned live() {
    unsigned n = 0;
    mrv_owner_leaks(owner, count_block, &n);
    return n;
}

// The heap goes on serving; nothing overlaps, nothing is lost.
bool still_serves() {
    const unsigned before = live();
    std::vector<unsigned char*> blocks;
    for (unsigned i = 0; i < 600; ++i) {
        void* p = nullptr;
        const std::size_t bytes = i % 50 == 0 ? 100000 : 16 + i * 7 % 900;
        const HRESULT hr = i % 3 == 0 ? heap->DebugAlloc(bytes, eTaskCritical, nullptr, 1, &p)
                                      : heap->Alloc(bytes, eTaskCritical, &p);
        if (hr != S_OK) {
            return false;
        }
        std::memset(p, static_cast<int>(i & 0xff), 16);
        blocks.push_back(static_cast<unsigned char*>(p));
    }
    for (unsigned i = 0; i < blocks.size(); ++i) {
        if (blocks[i][0] != (i & 0xff) || blocks[i][15] != (i & 0xff) ||
            heap->Free(blocks[i]) != S_OK) {
            return false;
        }
    }
    return live() == before;
}

// ---- blocks of Alloc ---------------------------------------------------------------------------------

int a_static = 1;

void innocent() {
    char* const p = alloc("p", size());
    write(p, 'x', size());
    free_it("p", p);
    char* const d = debug("d", size());
    write(d, 'x', size());
    free_it("d", d);
}
void null() { free_it("null", nullptr); }
void twice() {
    char* const p = alloc("p", size());
    free_it("p", p);
    free_it("p", p);
}
void three_times() {
    twice();
    char* const q = alloc("q", size() + 1000);
    free_it("q", q);
    free_it("q", q);
    free_it("q", q);
}
void interior() {
    char* const p = alloc("p", size());
    free_wrong("wrong", p + number(1));
    free_it("p", p);
}
void interior_of_free() {
    char* const p = alloc("p", size());
    free_it("p", p);
    free_wrong("wrong", p + number(1));
}
void in_front() {
    char* const p = debug("p", size());
    free_wrong("wrong", p - number(1));
    free_it("p", p);
}
void stack() {
    char here[64];
    free_wrong("wrong", here);
}
void global() { free_wrong("wrong", &a_static); }
void code_of_program() { free_wrong("wrong", reinterpret_cast<const void*>(&global)); }
void of_libc() {
    void* const p = std::malloc(size());
    free_wrong("wrong", p);
    std::free(p);
}
void constant() { free_wrong("wrong", reinterpret_cast<const void*>(number(0))); }
void environment() { free_wrong("wrong", std::getenv("PATH")); }
void the_heap_itself() { free_wrong("wrong", heap); }
void virtual_memory() {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                         &p);
    free_wrong("wrong", p);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}
void reserved_memory() {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &p);
    free_wrong("wrong", p);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}
void of_another_heap() {
    IHostMalloc* const other = another();
    char* const p = alloc("p", size(), other);
    free_it("p", p);
    free_it("p", p, other);
    other->Release();
}
void of_another_owner() {
    mrv_owner* second = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_owner_options o{};
    o.size = sizeof o;
    o.name = "second";
    mrv_owner_create(host, nullptr, &o, &second);
    mrv_owner_memory_manager(second, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    free_it("p", p);
    char* const q = alloc("q", size());
    free_it("q", q, other);
    free_it("q", q);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
    mrv_owner_destroy(second);
}
void of_another_host() {
    mrv_host* second = nullptr;
    mrv_owner* someone = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_host_create(nullptr, &second);
    mrv_owner_create(second, nullptr, nullptr, &someone);
    mrv_owner_memory_manager(someone, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    free_it("p", p);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
    status("destroy", mrv_host_destroy(second));
}
void of_a_heap_that_is_gone() {
    IHostMalloc* const other = another();
    char* const p = alloc("p", size(), other);
    std::printf("Release: %lu\n", static_cast<unsigned long>(other->Release()));
    free_it("p", p);
}
void of_a_single_threaded_heap() {
    IHostMalloc* const other = another(0);
    char* const p = alloc("p", size(), other);
    free_it("p", p, other);
    free_it("p", p, other);
    other->Release();
}
void of_an_executable_heap() {
    IHostMalloc* const other = another(MALLOC_THREADSAFE | MALLOC_EXECUTABLE);
    char* const p = alloc("p", size(), other);
    free_it("p", p, other);
    free_it("p", p, other);
    other->Release();
}
void by_another_thread() {
    char* const p = alloc("p", size());
    std::thread([&] { free_it("p", p); }).join();
    free_it("p", p);
    std::thread([&] { free_it("p", p); }).join();
}
char* for_handler;
void in_a_signal_handler() {
    for_handler = alloc("p", size());
    std::signal(SIGUSR1, [](int) {
        const HRESULT hr = heap->Free(for_handler + 1);
        const HRESULT last = heap->Free(for_handler);
        const HRESULT again = heap->Free(for_handler);
        std::printf("%s, %s, ", code(hr), code(last));
        std::printf("%s\n", code(again));
    });
    std::raise(SIGUSR1);
}
// Whoever writes past a block harms its neighbours' contents, never the heap.
void overwritten_slab() {
    std::vector<char*> blocks;
    for (int i = 0; i < 200; ++i) {
        void* p = nullptr;
        heap->Alloc(size(), eTaskCritical, &p);
        blocks.push_back(static_cast<char*>(p));
    }
    for (char* p : blocks) {
        write(p, static_cast<char>(-1), size());
    }
    unsigned good = 0;
    for (char* p : blocks) {
        good += heap->Free(p) == S_OK;
    }
    std::printf("%u of 200 freed\n", good);
}

// ---- blocks of DebugAlloc ------------------------------------------------------------------------------

void debug_twice() {
    char* const p = debug("p", size());
    free_it("p", p);
    free_it("p", p);
}
void debug_interior() {
    char* const p = debug("p", size());
    free_wrong("wrong", p + number(1));
    free_it("p", p);
}
// NUMBER bytes behind the end, that many bytes, of that value.
void behind() {
    char* const p = debug("p", size());
    write(p + size() + number(1), static_cast<char>(number(3)),
          static_cast<std::size_t>(number(2)));
    free_it("p", p);
}
void before() {
    char* const p = debug("p", size());
    write(p - number(1), static_cast<char>(number(3)), static_cast<std::size_t>(number(2)));
    free_it("p", p);
}
void on_both_sides() {
    char* const p = debug("p", size());
    write(p - 1, 1);
    write(p + size(), 1);
    free_it("p", p);
    write(p - 1, 2);
    free_it("p", p);
}
void string_too_long() {
    char* const p = debug("p", size(), "string.c", 33);
    write(p, 'a', size());
    write(p + size(), '\0');
    free_it("p", p);
}
void told_each_time() {
    char* const p = debug("p", size());
    write(p + size(), 1);
    free_it("p", p);
    free_it("p", p);
    list();
}
void made_good() {
    char* const p = debug("p", size());
    const char was = read(p + size());
    write(p + size(), 1);
    free_it("p", p);
    write(p + size(), was);
    free_it("p", p);
}
void copied_with_its_canary() {
    char* const p = debug("p", size());
    char* const q = debug("q", size());
    copy(p, q, size() + 16);
    free_it("p", p);
    free_it("q", q);
}
void neighbour() {
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
void after_free() {
    char* const p = debug("p", size());
    free_it("p", p);
    write(p + number(1), 1);
    void* q = nullptr;
    heap->DebugAlloc(size(), eTaskCritical, nullptr, 8, &q);
    std::printf("%s\n", q == p ? "the same again" : "another");
    free_it("q", q);
}
void read_after_free() {
    char* const p = debug("p", size());
    write(p, 'x', size());
    free_it("p", p);
    std::printf("%02x %02x\n", read(p) & 0xff, read(p + size() - 1) & 0xff);
}
void nothing_written_after_free() {
    char* const p = debug("p", size());
    free_it("p", p);
    char* const q = debug("q", size());
    free_it("q", q);
}
void without_a_name() {
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
void with_a_long_name() { named((std::string(3000, 'd') + "/the_end.c").c_str()); }
void with_an_empty_name() { named(""); }
void with_control_characters() { named("a\n\033[31mb.c"); }
void with_a_transient_name() {
    char file[32] = "was_here.c";
    char* const p = debug("p", size(), file, 5);
    std::strcpy(file, "overwritten");
    free_it("p", p);
    free_it("p", p);
}
void debug_of_another_heap() {
    IHostMalloc* const other = another();
    char* const p = debug("p", size());
    free_it("p", p, other);
    free_it("p", p);
    other->Release();
}
void used_as_plain_later() {
    char* const p = debug("p", size());
    free_it("p", p);
    char* const q = alloc("q", size());
    free_it("q", q);
    free_it("q", q);
}

// ---- what is still live ------------------------------------------------------------------------------

void leak() {
    char* const p = debug("p", size(), "leak.c", 99);
    list();
    free_it("p", p);
    list();
}
void leak_of_alloc() {
    char* const p = alloc("p", size());
    list();
    free_it("p", p);
}
void leaks_of_two_heaps() {
    IHostMalloc* const other = another();
    void* p = nullptr;
    other->DebugAlloc(size(), eTaskCritical, const_cast<char*>("b.c"), 2, &p);
    name("p", p);
    char* const q = debug("q", size(), "a.c", 1);
    std::printf("%u live\n", live());
    other->Release();
    std::printf("%u live\n", live());
    free_it("q", q);
}
void leaks_of_another_owner() {
    mrv_owner* second = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_owner_create(host, nullptr, nullptr, &second);
    mrv_owner_memory_manager(second, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    list();
    unsigned n = 0;
    mrv_owner_leaks(second, count_block, &n);
    std::printf("%u of the other\n", n);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
}
void enough_after_one() {
    char* const p = debug("p", size());
    char* const q = debug("q", size());
    list(1);
    free_it("p", p);
    free_it("q", q);
}
void many_leaks() {
    std::vector<void*> blocks;
    for (int i = 0; i < number(0); ++i) {
        void* p = nullptr;
        heap->DebugAlloc(static_cast<std::size_t>(i % 3000), eTaskCritical,
                         const_cast<char*>("many.c"), i, &p);
        blocks.push_back(p);
    }
    std::printf("%u live\n", live());
    for (void* p : blocks) {
        heap->Free(p);
    }
    std::printf("%u live\n", live());
}
void leak_of_a_thread_that_ended() {
    char* p = nullptr;
    std::thread([&] { p = debug("p", size(), "thread.c", 4); }).join();
    list();
    free_it("p", p);
}
void freed_while_listed() {
    debug("p", size());
    alloc("q", size());
    debug("r", 200000);
    const auto release = [](void*, const mrv_live_block* b) {
        return heap->Free(b->address) == S_OK ? 0 : 1;
    };
    status("leaks", mrv_owner_leaks(owner, release, nullptr));
    std::printf("%u live\n", live());
}
void leaks_of_nothing() {
    status("no owner", mrv_owner_leaks(nullptr, print_block, nullptr));
    status("no function", mrv_owner_leaks(owner, nullptr, nullptr));
    list();
}

// ---- reports -----------------------------------------------------------------------------------------

void told_a_hundred_times() {
    char* const p = alloc("p", size());
    for (int i = 0; i < 150; ++i) {
        if (heap->Free(p + 1) == S_OK) {
            std::abort();
        }
    }
    free_it("p", p);
}
void to_a_function() {
    mrv_host* second = nullptr;
    mrv_owner* someone = nullptr;
    IHostMemoryManager* theirs = nullptr;
    mrv_host_options o{};
    o.size = sizeof o;
    unsigned lines = 0;
    o.report = [](void* context, const char* line) {
        if (++*static_cast<unsigned*>(context) == 1) {
            std::printf("told: %s\n", line);
        }
    };
    o.report_context = &lines;
    mrv_host_create(&o, &second);
    mrv_owner_create(second, nullptr, nullptr, &someone);
    mrv_owner_memory_manager(someone, &theirs);
    IHostMalloc* const other = another(MALLOC_THREADSAFE, theirs);
    char* const p = alloc("p", size(), other);
    for (int i = 0; i < 150; ++i) {
        other->Free(p + 1);
    }
    std::printf("%u lines\n", lines);
    free_it("p", p, other);
    other->Release();
    theirs->Release();
    status("destroy", mrv_host_destroy(second));
}

// ---- the other calls ---------------------------------------------------------------------------------

void virtual_free_of_a_block() {
    char* const p = alloc("p", size());
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
    const auto base = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(p) & ~0xffffull);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(base, 0, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(base, 4096, MEM_DECOMMIT)));
    write(p, 'x', size());
    free_it("p", p);
}
void virtual_free_twice() {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &p);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}
void virtual_free_inside() {
    void* p = nullptr;
    memory->VirtualAlloc(nullptr, 65536, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &p);
    std::printf("VirtualFree: %s\n",
                code(memory->VirtualFree(static_cast<char*>(p) + 4096, 0, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 4096, MEM_RELEASE)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE | MEM_DECOMMIT)));
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
}
void virtual_free_of_libcs() {
    void* const p = std::malloc(1 << 20);
    std::printf("VirtualFree: %s\n", code(memory->VirtualFree(p, 0, MEM_RELEASE)));
    std::free(p);
}
void sizes_that_cannot_be() {
    void* p = &p;
    std::printf("Alloc: %s\n", code(heap->Alloc(~std::size_t{0}, eProcessCritical, &p)));
    std::printf("DebugAlloc: %s\n",
                code(heap->DebugAlloc(~std::size_t{0} - 16, eProcessCritical, nullptr, 0, &p)));
    std::printf("%s\n", p == nullptr ? "null" : "not null");
}
void null_out_pointers() {
    std::printf("Alloc: %s\n", code(heap->Alloc(1, eTaskCritical, nullptr)));
    std::printf("DebugAlloc: %s\n", code(heap->DebugAlloc(1, eTaskCritical, nullptr, 0, nullptr)));
    std::printf("CreateMalloc: %s\n", code(memory->CreateMalloc(0, nullptr)));
}
void unknown_values() {
    void* p = nullptr;
    IHostMalloc* made = nullptr;
    std::printf("Alloc: %s\n", code(heap->Alloc(1, static_cast<EMemoryCriticalLevel>(3), &p)));
    std::printf("DebugAlloc: %s\n",
                code(heap->DebugAlloc(1, static_cast<EMemoryCriticalLevel>(-1), nullptr, 0, &p)));
    std::printf("CreateMalloc: %s\n", code(memory->CreateMalloc(4, &made)));
}
void destroyed_while_in_use() {
    status("destroy", mrv_host_destroy(host));
    char* const p = alloc("p", size());
    free_it("p", p);
}
void popped_too_often() {
    status("pop", mrv_thread_pop_owner());
    status("push", mrv_thread_push_owner(owner));
    status("pop", mrv_thread_pop_owner());
    status("pop", mrv_thread_pop_owner());
}
void pushed_too_deep() {
    for (int i = 0; i < 8; ++i) {
        mrv_thread_push_owner(owner);
    }
    status("push", mrv_thread_push_owner(owner));
    for (int i = 0; i < 8; ++i) {
        mrv_thread_pop_owner();
    }
}
void null_handles() {
    status("host", mrv_host_destroy(nullptr));
    status("owner", mrv_owner_destroy(nullptr));
    status("subscription", mrv_host_unsubscribe(nullptr));
    status("push", mrv_thread_push_owner(nullptr));
    status("stats", mrv_owner_stats(nullptr, nullptr));
    status("manager", mrv_owner_memory_manager(nullptr, nullptr));
    status("create", mrv_owner_create(nullptr, nullptr, nullptr, &owner));
}
void options_without_size() {
    mrv_host_options o{};
    mrv_host* made = nullptr;
    status("create", mrv_host_create(&o, &made));
    o.size = sizeof o;
    o.flags = 1u << 30;
    status("create", mrv_host_create(&o, &made));
    mrv_owner_options p{};
    mrv_owner* someone = nullptr;
    status("owner", mrv_owner_create(host, nullptr, &p, &someone));
    p.size = sizeof p;
    p.hard_limit_bytes = 1 << 20;
    p.guaranteed_bytes = 2 << 20;
    status("owner", mrv_owner_create(host, nullptr, &p, &someone));
}
void owner_of_another_host() {
    mrv_host* second = nullptr;
    IHostControl* control = nullptr;
    mrv_host_create(nullptr, &second);
    mrv_owner* made = nullptr;
    status("control", mrv_host_control(second, owner, &control));
    status("owner", mrv_owner_create(second, owner, nullptr, &made));
    status("watch", mrv_host_watch(
                        second, owner, [](void*, const mrv_pressure_event*) {}, nullptr, nullptr));
    status("destroy", mrv_host_destroy(second));
}

// The test of the test: what is wrong here must be seen.
void planted() {
    char* const p = alloc("p", size());
    free_it("p", p);
    std::printf("and says so\n");
    std::exit(3);
}

#define MISUSE(f)                                                                                  \
    { #f, f }
constexpr struct {
    const char* name;
    void (*run)();
} cases[] = {
    MISUSE(innocent),
    MISUSE(null),
    MISUSE(twice),
    MISUSE(three_times),
    MISUSE(interior),
    MISUSE(interior_of_free),
    MISUSE(in_front),
    MISUSE(stack),
    MISUSE(global),
    MISUSE(code_of_program),
    MISUSE(of_libc),
    MISUSE(constant),
    MISUSE(environment),
    MISUSE(the_heap_itself),
    MISUSE(virtual_memory),
    MISUSE(reserved_memory),
    MISUSE(of_another_heap),
    MISUSE(of_another_owner),
    MISUSE(of_another_host),
    MISUSE(of_a_heap_that_is_gone),
    MISUSE(of_a_single_threaded_heap),
    MISUSE(of_an_executable_heap),
    MISUSE(by_another_thread),
    MISUSE(in_a_signal_handler),
    MISUSE(overwritten_slab),
    MISUSE(debug_twice),
    MISUSE(debug_interior),
    MISUSE(behind),
    MISUSE(before),
    MISUSE(on_both_sides),
    MISUSE(string_too_long),
    MISUSE(told_each_time),
    MISUSE(made_good),
    MISUSE(copied_with_its_canary),
    MISUSE(neighbour),
    MISUSE(after_free),
    MISUSE(read_after_free),
    MISUSE(nothing_written_after_free),
    MISUSE(without_a_name),
    MISUSE(with_a_long_name),
    MISUSE(with_an_empty_name),
    MISUSE(with_control_characters),
    MISUSE(with_a_transient_name),
    MISUSE(debug_of_another_heap),
    MISUSE(used_as_plain_later),
    MISUSE(leak),
    MISUSE(leak_of_alloc),
    MISUSE(leaks_of_two_heaps),
    MISUSE(leaks_of_another_owner),
    MISUSE(enough_after_one),
    MISUSE(many_leaks),
    MISUSE(leak_of_a_thread_that_ended),
    MISUSE(freed_while_listed),
    MISUSE(leaks_of_nothing),
    MISUSE(told_a_hundred_times),
    MISUSE(to_a_function),
    MISUSE(virtual_free_of_a_block),
    MISUSE(virtual_free_twice),
    MISUSE(virtual_free_inside),
    MISUSE(virtual_free_of_libcs),
    MISUSE(sizes_that_cannot_be),
    MISUSE(null_out_pointers),
    MISUSE(unknown_values),
    MISUSE(destroyed_while_in_use),
    MISUSE(popped_too_often),
    MISUSE(pushed_too_deep),
    MISUSE(null_handles),
    MISUSE(options_without_size),
    MISUSE(owner_of_another_host),
    MISUSE(planted),
};

} // namespace

int main(int count, char** arguments) {
    mrv_owner_options o{};
    o.size = sizeof o;
    o.name = "plugin";
    if (mrv_host_create(nullptr, &host) != MRV_OK ||
        mrv_owner_create(host, nullptr, &o, &owner) != MRV_OK ||
        mrv_owner_memory_manager(owner, &memory) != MRV_OK ||
        memory->CreateMalloc(MALLOC_THREADSAFE, &heap) != S_OK) {
        return 1;
    }
    for (int i = 2; i < count; ++i) {
        numbers.push_back(static_cast<long>(std::strtoul(arguments[i], nullptr, 0)));
    }
    for (const auto& c : cases) {
        if (count > 1 && std::strcmp(arguments[1], c.name) == 0) {
            std::setvbuf(stdout, nullptr, _IONBF, 0);
            mrv_owner* const ours = owner;
            c.run();
            owner = ours;
            std::printf("%s\n", still_serves() ? "goes on" : "BROKEN");
            heap->Release();
            mrv_owner_figures f{};
            f.size = sizeof f;
            mrv_owner_stats(owner, &f);
            memory->Release();
            const bool whole = f.heap_bytes == 0 && mrv_host_destroy(host) == MRV_OK;
            std::printf("%s\n", whole ? "ends well" : "LOST");
            return whole ? 0 : 1;
        }
    }
    std::fprintf(stderr, "heap_misuse: no such case\n");
    return 2;
}
