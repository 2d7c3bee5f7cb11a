// SPDX-License-Identifier: MIT
// What POSIX promises of mmap, munmap, mprotect, madvise and mremap, checked by random operations
// against a model of pages: run naked it proves itself, run under memreeve it proves the bridge
// (decisions 23, 24). Usage: posix_memory SEED STEPS. Prints one line; exit 0 when all agreed.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { page = 4096, slots = 12, most_pages = 64 };

struct model_page {
    int mapped, prot;
    uint64_t value; // first word; 0 for fresh memory
    int is_file;    // private mapping of the file: value counts only when `known`
};
struct slot {
    char* base;
    int pages;
    struct model_page at[most_pages];
} all[slots];

static uint64_t state;
static unsigned random_below(unsigned n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % n;
}

static long step;
static const char* doing = "";
static void wrong(const char* what, const struct slot* s, int i) {
    printf("wrong at step %ld after %s: %s (page %d of %d at %p)\n", step, doing, what, i, s->pages,
           (void*)s->base);
    exit(1);
}

// Reads through the kernel: 1 readable (word in *out), 0 not.
static int peek(const char* at, uint64_t* out) {
    struct iovec to = {out, sizeof *out}, from = {(void*)(uintptr_t)at, sizeof *out};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)sizeof *out;
}

static void compare(const struct slot* s) {
    for (int i = 0; i < s->pages; ++i) {
        const struct model_page* p = &s->at[i];
        uint64_t word = 0;
        const int readable = peek(s->base + (ptrdiff_t)i * page, &word);
        if (p->mapped && (p->prot & PROT_READ)) {
            if (!readable)
                wrong("readable page cannot be read", s, i);
            if (word != p->value)
                wrong("contents differ", s, i);
        } else if (p->mapped && readable) {
            wrong("inaccessible page can be read", s, i);
        }
    }
}

static int any_prot(void) {
    static const int kinds[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
                                PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
    return kinds[random_below(5)];
}

static void fill(struct slot* s, int from, int count, int prot, uint64_t value, int is_file) {
    for (int i = from; i < from + count; ++i)
        s->at[i] = (struct model_page){1, prot, value, is_file};
}

static void map_new(struct slot* s) {
    doing = "mmap";
    s->pages = 1 + (int)random_below(most_pages);
    const int prot = any_prot();
    s->base = mmap(NULL, (size_t)s->pages * page, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->base == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    fill(s, 0, s->pages, prot, 0, 0);
}

static void write_some(struct slot* s) {
    doing = "write";
    for (int i = 0; i < s->pages; ++i) {
        if (s->at[i].mapped && (s->at[i].prot & PROT_WRITE) && random_below(2)) {
            s->at[i].value = 1 + random_below(1000000);
            memcpy(s->base + (ptrdiff_t)i * page, &s->at[i].value, 8);
        }
    }
}

static int all_mapped(const struct slot* s, int from, int count) {
    for (int i = from; i < from + count; ++i)
        if (!s->at[i].mapped)
            return 0;
    return 1;
}

int main(int argc, char** argv) {
    state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const long steps = argc > 2 ? atol(argv[2]) : 20000;
    char name[] = "/tmp/posix_memory_XXXXXX";
    const int file = mkstemp(name);
    unlink(name);
    const uint64_t in_file = 0x7061676566696c65;
    for (int i = 0; i < most_pages; ++i)
        if (pwrite(file, &in_file, 8, (off_t)i * page) != 8)
            return 2;
    if (ftruncate(file, (off_t)most_pages * page) != 0)
        return 2;
    long kinds[8] = {0};
    for (step = 0; step < steps; ++step) {
        struct slot* s = &all[random_below(slots)];
        if (s->base == NULL)
            map_new(s);
        const int from = (int)random_below((unsigned)s->pages);
        const int count = 1 + (int)random_below((unsigned)(s->pages - from));
        char* at = s->base + (ptrdiff_t)from * page;
        const size_t size = (size_t)count * page;
        const unsigned kind = random_below(8);
        ++kinds[kind];
        switch (kind) {
        case 0:
            doing = "munmap of a part";
            if (!all_mapped(s, from, count))
                break;
            if (munmap(at, size) != 0)
                wrong("munmap failed", s, from);
            for (int i = from; i < from + count; ++i)
                s->at[i] = (struct model_page){0};
            break;
        case 1: {
            doing = "mprotect";
            const int prot = any_prot();
            if (!all_mapped(s, from, count))
                break;
            if (mprotect(at, size, prot) != 0)
                wrong("mprotect failed", s, from);
            for (int i = from; i < from + count; ++i)
                s->at[i].prot = prot;
            break;
        }
        case 2: {
            doing = "mmap FIXED, anonymous";
            // Holes may be somebody else's by now; only what is still ours may be mapped over.
            if (!all_mapped(s, from, count))
                break;
            const int prot = any_prot();
            if (mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
                wrong("mmap failed", s, from);
            fill(s, from, count, prot, 0, 0);
            break;
        }
        case 3: {
            doing = "mmap FIXED, a file";
            if (!all_mapped(s, from, count) || random_below(3))
                break;
            if (mmap(at, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != at)
                wrong("mmap failed", s, from);
            fill(s, from, count, PROT_READ, in_file, 1);
            break;
        }
        case 4:
            doing = "madvise DONTNEED";
            if (!all_mapped(s, from, count))
                break;
            if (madvise(at, size, MADV_DONTNEED) != 0)
                wrong("madvise failed", s, from);
            for (int i = from; i < from + count; ++i)
                s->at[i].value = s->at[i].is_file ? in_file : 0;
            break;
        case 5: {
            doing = "mremap";
            int alike = s->pages <= most_pages / 2 && all_mapped(s, 0, s->pages);
            for (int i = 0; alike && i < s->pages; ++i)
                alike = s->at[i].prot == (PROT_READ | PROT_WRITE) && !s->at[i].is_file;
            if (!alike)
                break;
            const int wanted = 1 + (int)random_below((unsigned)s->pages * 2);
            char* got =
                mremap(s->base, (size_t)s->pages * page, (size_t)wanted * page, MREMAP_MAYMOVE);
            if (got == MAP_FAILED && errno == EFAULT)
                break; // more than one kernel mapping
            if (got == MAP_FAILED)
                wrong("mremap failed", s, 0);
            for (int i = s->pages; i < wanted; ++i)
                s->at[i] = (struct model_page){1, PROT_READ | PROT_WRITE, 0, 0};
            s->base = got;
            s->pages = wanted;
            break;
        }
        case 6:
            if (random_below(4) == 0) {
                doing = "munmap of the whole";
                for (int i = 0; i < s->pages; ++i) {
                    // Only what is mapped: a hole may be another slot's by now.
                    if (s->at[i].mapped && munmap(s->base + (ptrdiff_t)i * page, page) != 0)
                        wrong("munmap failed", s, i);
                }
                s->base = NULL;
                s->pages = 0;
                break;
            }
            // fall through
        default: write_some(s); break;
        }
        compare(s);
    }
    doing = "fork";
    const pid_t child = fork();
    if (child == 0) {
        // Full service in the child: what was inherited reads as before, changes stay private.
        for (int k = 0; k < slots; ++k)
            compare(&all[k]);
        for (int round = 0; round < 200; ++round) {
            struct slot* s = &all[random_below(slots)];
            for (int i = 0; i < s->pages; ++i)
                if (s->at[i].mapped)
                    munmap(s->base + (ptrdiff_t)i * page, page);
            map_new(s);
            write_some(s);
            compare(s);
        }
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        printf("wrong: the child ended with status %x\n", (unsigned)status);
        return 1;
    }
    for (int k = 0; k < slots; ++k)
        compare(&all[k]);
    for (int k = 0; k < 8; ++k) {
        if (kinds[k] * 20 < steps) {
            printf("wrong: operation %d was drawn only %ld times\n", k, kinds[k]);
            return 1;
        }
    }
    errno = 77;
    char* p = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (errno != 77)
        return printf("wrong: a success touched errno\n"), 1;
    if (munmap(p + 1, page) != -1 || errno != EINVAL)
        return printf("wrong: unaligned munmap\n"), 1;
    if (mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ||
        errno != EINVAL)
        return printf("wrong: mmap of nothing\n"), 1;
    if (mprotect(p, page, 0x40000000) != -1 || errno != EINVAL)
        return printf("wrong: bad prot\n"), 1;
    printf("%ld steps agreed\n", steps);
    return 0;
}
