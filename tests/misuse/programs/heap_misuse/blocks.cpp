// SPDX-License-Identifier: MIT
// Blocks of Alloc, freed as they must not be; and what is written past them.
#include "misuse.hpp"

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace misuse {
namespace {

MISUSE(innocent) {
    char* const p = alloc("p", size());
    write(p, 'x', size());
    free_it("p", p);
    char* const d = debug("d", size());
    write(d, 'x', size());
    free_it("d", d);
}

MISUSE(null) { free_it("null", nullptr); }

MISUSE(twice) {
    char* const p = alloc("p", size());
    free_it("p", p);
    free_it("p", p);
}

MISUSE(three_times) {
    twice();
    char* const q = alloc("q", size() + 1000);
    free_it("q", q);
    free_it("q", q);
    free_it("q", q);
}

MISUSE(interior) {
    char* const p = alloc("p", size());
    free_wrong("wrong", p + number(1));
    free_it("p", p);
}

MISUSE(interior_of_free) {
    char* const p = alloc("p", size());
    free_it("p", p);
    free_wrong("wrong", p + number(1));
}

MISUSE(by_another_thread) {
    char* const p = alloc("p", size());
    std::thread([&] { free_it("p", p); }).join();
    free_it("p", p);
    std::thread([&] { free_it("p", p); }).join();
}

char* for_handler;

MISUSE(in_a_signal_handler) {
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
MISUSE(overwritten_slab) {
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

// The test of the test: what is wrong here must be seen.
MISUSE(planted) {
    char* const p = alloc("p", size());
    free_it("p", p);
    std::printf("and says so\n");
    std::exit(3);
}

} // namespace
} // namespace misuse
