/* SPDX-License-Identifier: MIT
 * How much stack the calls that ask for memory need, for stack_depth.py: a thread on a painted
 * stack of its own makes each call and looks how far down the paint is gone. A line a call. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { stack_size = 256 * 1024, page = 4096, untouched = 0x5a };

static char* lowest;
static void* blocks[4000];
static char* region;
static int file;

static void small_blocks(void) {
    for (size_t i = 0; i < 4000; ++i) {
        blocks[i] = malloc(i * 7 % 3000 + 1);
    }
}
static void small_frees(void) {
    for (size_t i = 0; i < 4000; ++i) {
        free(blocks[i]);
    }
}
static void large_block(void) {
    void* volatile p = calloc(3, 1 << 20);
    p = realloc(p, 9 << 20);
    free(p);
}
static void map(void) {
    region = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void protect(void) {
    mprotect(region + page, page, PROT_READ);
    mprotect(region, 16 * page, PROT_NONE);
    mprotect(region, 16 * page, PROT_READ | PROT_WRITE);
}
static void fixed(void) {
    mmap(region + 64 * page, 4 * page, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    mmap(region + 64 * page, 4 * page, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}
static void over_file(void) {
    mmap(region + 32 * page, page, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
}
static void advise(void) { madvise(region, 8 * page, MADV_DONTNEED); }
static void remap(void) { region = mremap(region, 1 << 20, 2 << 20, MREMAP_MAYMOVE); }
static void unmap(void) {
    munmap(region + 5 * page, page);
    munmap(region, 2 << 20);
}
static void unaligned(void) {
    region = mmap((char*)0x7e0000003000, 1 << 20, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(region, page, PROT_NONE);
    munmap(region, 1 << 20);
}
static void map_file(void) {
    void* p = mmap(NULL, page, PROT_READ, MAP_PRIVATE, file, 0);
    munmap(p, page);
}
static void breaks(void) {
    if (sbrk(page) != (void*)-1) {
        sbrk(-page);
    }
}
static void* nothing(void* p) { return p; }
static void thread(void) {
    pthread_t t;
    if (pthread_create(&t, NULL, nothing, NULL) == 0) {
        pthread_join(t, NULL);
    }
}

/* Bytes below this frame that `call` used. */
__attribute__((noinline)) static long depth_of(void (*volatile call)(void)) {
    char* const here = __builtin_frame_address(0);
    for (volatile char* p = lowest; p < here - 512; ++p) {
        *p = untouched;
    }
    call();
    const volatile char* p = lowest;
    while (p < here && *p == untouched) {
        ++p;
    }
    return here - p;
}

static void* measure(void* unused) {
    static const struct {
        const char* name;
        void (*call)(void);
    } calls[] = {{"small_blocks", small_blocks},
                 {"small_frees", small_frees},
                 {"large_block", large_block},
                 {"map", map},
                 {"protect", protect},
                 {"fixed", fixed},
                 {"over_file", over_file},
                 {"advise", advise},
                 {"remap", remap},
                 {"unmap", unmap},
                 {"unaligned", unaligned},
                 {"map_file", map_file},
                 {"breaks", breaks},
                 {"thread", thread}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i) {
        const long depth = depth_of(calls[i].call);
        printf("%s %ld\n", calls[i].name, depth);
    }
    return unused;
}

int main(int argc, char** argv) {
    (void)argc;
    setvbuf(stdout, NULL, _IONBF, 0);
    FILE* f = fopen(argv[0], "r");
    file = fileno(f);
    pthread_attr_t a;
    pthread_t t;
    pthread_attr_init(&a);
    lowest = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_setstack(&a, lowest, stack_size);
    if (lowest == MAP_FAILED || pthread_create(&t, &a, measure, NULL) != 0) {
        return 1;
    }
    return pthread_join(t, NULL);
}
