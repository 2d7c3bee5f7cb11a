// SPDX-License-Identifier: MIT
// heap_misuse CASE [NUMBER...]: does one thing to a heap of IHostMemoryManager that a program must not,
// prints what it was answered, and whether everything else still works. heap_misuse --cases: the names.
// A case is one MISUSE(name) { ... } in a file of this folder, and at least one row of what must be told
// in tests/misuse/_heap_cases.py; neither goes without the other. Addresses are printed as
// `name = address`, for who reads the reports.
#pragma once

#include <memreeve/host_interfaces.h>
#include <memreeve/memreeve.h>

#include <cstddef>

#define MISUSE(name)                                                                               \
    void name();                                                                                   \
    const ::misuse::misdeed name##_is_a_case{#name, name};                                         \
    void name()

namespace misuse {

// All of them are linked by `next`, in no order.
struct misdeed {
    misdeed(const char* what, void (*how)()) noexcept;
    const char* name;
    void (*run)();
    const misdeed* next;
};

extern mrv_host* host;
extern mrv_owner* owner; // of host, "plugin"
extern IHostMemoryManager* memory;
extern IHostMalloc* heap;

long number(std::size_t i); // the case's numbers; 0 where there is none
std::size_t size();         // the first of them; 100 where there is none

const char* code(HRESULT hr);
void status(const char* call, mrv_status s);
void name(const char* what, const void* p);

// These print the block's name, or what was answered, and end the program where a block is refused.
char* alloc(const char* what, std::size_t bytes, IHostMalloc* from = nullptr);
char* debug(const char* what, std::size_t bytes, const char* file = "plugin.c", int line = 7);
void free_it(const char* what, const void* p, IHostMalloc* of = nullptr);
void free_wrong(const char* what, const void* p);
IHostMalloc* another(DWORD flags = MALLOC_THREADSAFE, IHostMemoryManager* of = nullptr);

// What the program does behind the heap's back: byte by byte, unseen by a sanitizer.
void write(char* p, char value, std::size_t n = 1);
char read(const char* p);
void copy(char* to, const char* from, std::size_t n);

// What is still live, of owner.
int print_block(void* context, const mrv_live_block* b);
int count_block(void* context, const mrv_live_block*);
void list(int most = 0);
unsigned live();

} // namespace misuse
