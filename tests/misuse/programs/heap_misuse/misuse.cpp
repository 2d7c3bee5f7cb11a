// SPDX-License-Identifier: MIT
#include "misuse.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace misuse {

mrv_host* host;
mrv_owner* owner;
IHostMemoryManager* memory;
IHostMalloc* heap;

namespace {
constinit const misdeed* first_case = nullptr; // before the first static constructor
std::vector<long> numbers;
} // namespace

misdeed::misdeed(const char* what, void (*how)()) noexcept
    : name(what), run(how), next(first_case) {
    first_case = this;
}

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

char* alloc(const char* what, std::size_t bytes, IHostMalloc* from) {
    void* p = nullptr;
    if ((from != nullptr ? from : heap)->Alloc(bytes, eTaskCritical, &p) != S_OK) {
        std::abort();
    }
    name(what, p);
    return static_cast<char*>(p);
}

char* debug(const char* what, std::size_t bytes, const char* file, int line) {
    void* p = nullptr;
    if (heap->DebugAlloc(bytes, eTaskCritical, const_cast<char*>(file), line, &p) != S_OK) {
        std::abort();
    }
    name(what, p);
    return static_cast<char*>(p);
}

void free_it(const char* what, const void* p, IHostMalloc* of) {
    const HRESULT hr = (of != nullptr ? of : heap)->Free(const_cast<void*>(p));
    std::printf("Free(%s): %s\n", what, code(hr));
}

void free_wrong(const char* what, const void* p) {
    name(what, p);
    free_it(what, p);
}

__attribute__((noinline, no_sanitize("address", "thread"))) void write(char* p, char value,
                                                                       std::size_t n) {
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

IHostMalloc* another(DWORD flags, IHostMemoryManager* of) {
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

void list(int most) {
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

namespace {

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

int run(const misdeed& c) {
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

} // namespace
} // namespace misuse

int main(int count, char** arguments) {
    using namespace misuse;
    if (count == 2 && std::strcmp(arguments[1], "--cases") == 0) {
        for (const misdeed* c = first_case; c != nullptr; c = c->next) {
            std::puts(c->name);
        }
        return 0;
    }
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
    for (const misdeed* c = first_case; c != nullptr; c = c->next) {
        if (count > 1 && std::strcmp(arguments[1], c->name) == 0) {
            return run(*c);
        }
    }
    std::fprintf(stderr, "heap_misuse: no such case\n");
    return 2;
}
