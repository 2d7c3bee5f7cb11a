// SPDX-License-Identifier: MIT
// Random partial munmap, MAP_FIXED, MAP_FIXED_NOREPLACE, hints, mprotect, mremap and madvise over
// anonymous mappings, and now and then a file or shared memory put over them, against a model of pages
// and the kernel's own idea of each page touched: who may read it (asked by process_vm_readv, which
// meets guard markers too), write and execute it (PROCMAP_QUERY), and what it holds. Run naked it
// proves itself, run under memreeve it proves the bridge (decisions 23, 24).
//
//   mapping_fuzz SEED STEPS [governed]
//
// "ready" is printed, and a line waited for, before the first and after the last step, so that the
// books can be looked at: nothing is mapped then, and nothing is allocated between. Exit 0: all agreed.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { page = 4096, zones = 12, most_pages = 400, table_size = 1 << 21 };
enum { noreplace = 0x100000, dont_unmap = 4 };

enum kind { anonymous, of_file, shared };
struct cell {
    uint64_t number; // page number; 0: never used
    uint64_t word;   // at its beginning
    unsigned char mapped, prot, kind;
};
static struct cell table[table_size];
static struct zone {
    uint64_t base;
    unsigned pages;
} all[zones];

static uint64_t state;
static long step, steps;
static int governed, file;
static char doing[200] = "nothing";
static const uint64_t in_file = 0x6d617070696e6766;
static int query_fd = -1;

static unsigned below(unsigned n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(state >> 33) % n;
}
static void describe(const char* format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(doing, sizeof doing, format, list);
    va_end(list);
}
static void wrong(uint64_t at, const char* format, ...) {
    va_list list;
    va_start(list, format);
    printf("wrong at step %ld after %s: page %llx: ", step, doing, (unsigned long long)at);
    vprintf(format, list);
    printf("\n");
    va_end(list);
    exit(1);
}

static struct cell* cell_of(uint64_t a) {
    const uint64_t number = a / page;
    for (uint64_t i = number * 0x9e3779b97f4a7c15u >> 43;; i = (i + 1) % table_size) {
        if (table[i].number == number)
            return &table[i];
        if (table[i].number == 0) {
            table[i].number = number;
            return &table[i];
        }
    }
}
static void* pointer(uint64_t a) { return (void*)(uintptr_t)a; }

// ---- the kernel ---------------------------------------------------------------------------------

struct procmap_query { // <linux/fs.h> of 6.11
    uint64_t size, flags, address, begin, end, access, page_size, offset, inode;
    uint32_t major, minor, name_size, build_id_size;
    uint64_t name, build_id;
};
// 1 read, 2 write, 4 execute as the mapping has it; unmapped: 0. -1: the kernel cannot say.
static int mapping_access(uint64_t a, uint64_t* end) {
    static struct procmap_query q;
    memset(&q, 0, sizeof q);
    q.size = sizeof q;
    q.flags = 0x10; // covering or next
    q.address = a;
    if (query_fd < 0)
        return -1;
    if (ioctl(query_fd, _IOWR('f', 17, struct procmap_query), &q) != 0) {
        *end = ~(uint64_t)0;
        return 0;
    }
    *end = q.begin > a ? q.begin : q.end;
    return q.begin > a ? 0 : (int)(q.access & 7);
}
static int can_read(uint64_t a, uint64_t* word) {
    struct iovec to = {word, sizeof *word}, from = {pointer(a), sizeof *word};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)sizeof *word;
}

static int is_in_zone(uint64_t a) {
    for (int z = 0; z < zones; ++z)
        if (a - all[z].base < (uint64_t)all[z].pages * page)
            return 1;
    return 0;
}

// The pages of [begin, end) and one on either side.
static void compare(uint64_t begin, uint64_t end) {
    uint64_t known = 0;
    int access = 0;
    for (uint64_t a = begin - page; a < end + page; a += page) {
        if ((a < begin || a >= end) && !is_in_zone(a))
            continue; // somebody else's
        const struct cell* c = cell_of(a);
        const int readable = c->mapped && (c->prot & PROT_READ) != 0;
        uint64_t word = 0;
        if (can_read(a, &word) != readable)
            wrong(a, "the model says %s",
                  !c->mapped ? "unmapped"
                  : readable ? "readable"
                             : "no access");
        if (readable && word != c->word)
            wrong(a, "holds %llx, not %llx", (unsigned long long)word, (unsigned long long)c->word);
        if (a >= known)
            access = mapping_access(a, &known);
        // An unmapped page may be closed off by a guard marker: what counts is that nobody gets in.
        if (access >= 0 && readable && access != c->prot)
            wrong(a, "the mapping allows %d, not %d", access, c->prot);
    }
}

// ---- the model ------------------------------------------------------------------------------------

static void set(uint64_t begin, uint64_t end, int prot, enum kind kind, uint64_t word) {
    for (uint64_t a = begin; a < end; a += page) {
        struct cell* c = cell_of(a);
        c->mapped = 1;
        c->prot = (unsigned char)prot;
        c->kind = (unsigned char)kind;
        c->word = word;
    }
}
static void set_unmapped(uint64_t begin, uint64_t end) {
    for (uint64_t a = begin; a < end; a += page)
        cell_of(a)->mapped = 0;
}
static int count_mapped(uint64_t begin, uint64_t end) {
    int n = 0;
    for (uint64_t a = begin; a < end; a += page)
        n += cell_of(a)->mapped;
    return n;
}
static void must_be_free(uint64_t begin, uint64_t end) {
    for (uint64_t a = begin; a < end; a += page)
        if (cell_of(a)->mapped)
            wrong(a, "was given out although it is in use");
}
static int any_prot(void) {
    static const int kinds[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
                                PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
    return kinds[below(5)];
}

// ---- operations -----------------------------------------------------------------------------------

static void unmap(uint64_t begin, uint64_t end) {
    describe("munmap(%llx, %llx)", (unsigned long long)begin, (unsigned long long)(end - begin));
    if (munmap(pointer(begin), end - begin) != 0)
        wrong(begin, "%s", strerror(errno));
    set_unmapped(begin, end);
}

static void new_zone(struct zone* z) {
    z->pages = 1 + below(below(4) == 0 ? most_pages : 60);
    const int prot = any_prot();
    // With a hint that is not at 64 KiB it comes from the kernel; without one from an arena.
    uint64_t hint = 0;
    if (below(4) == 0)
        hint = 0x7d0000001000ULL + (uint64_t)below(1 << 16) * 0x100000;
    describe("mmap of %u pages, hint %llx, prot %d", z->pages, (unsigned long long)hint, prot);
    char* p =
        mmap(pointer(hint), (size_t)z->pages * page, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        wrong(hint, "%s", strerror(errno));
    z->base = (uint64_t)(uintptr_t)p;
    must_be_free(z->base, z->base + (uint64_t)z->pages * page);
    // Where an emptied zone was: what is left of that is given back, so that no zone names addresses
    // that lie in another's 64 KiB.
    const struct zone made = *z;
    for (int k = 0; k < zones; ++k) {
        struct zone* o = &all[k];
        const uint64_t mask = ~(uint64_t)0xffff, stop = o->base + (uint64_t)o->pages * page;
        if (o != z && o->base != 0 &&
            (o->base & mask) < made.base + (uint64_t)made.pages * page + 0xffff &&
            (made.base & mask) < stop + 0xffff) {
            for (uint64_t a = o->base; a < stop; a += page)
                if (cell_of(a)->mapped)
                    unmap(a, a + page);
            o->base = 0;
            o->pages = 0;
        }
    }
    set(z->base, z->base + (uint64_t)z->pages * page, prot, anonymous, 0);
    compare(z->base, z->base + (uint64_t)z->pages * page);
}

static void write_words(uint64_t begin, uint64_t end) {
    for (uint64_t a = begin; a < end; a += page) {
        struct cell* c = cell_of(a);
        if (c->mapped && (c->prot & PROT_WRITE) != 0 && below(2)) {
            c->word = 1 + below(1u << 30);
            memcpy(pointer(a), &c->word, sizeof c->word);
        }
    }
}

static void protect(uint64_t begin, uint64_t end) {
    const int prot = any_prot();
    describe("mprotect(%llx, %llx, %d)", (unsigned long long)begin,
             (unsigned long long)(end - begin), prot);
    uint64_t stop = begin; // holes end it, and what lies before is changed
    while (stop < end && cell_of(stop)->mapped)
        stop += page;
    const int got = mprotect(pointer(begin), end - begin, prot) == 0 ? 0 : errno;
    if (got != (stop == end ? 0 : ENOMEM))
        wrong(stop, "said %s", strerror(got));
    for (uint64_t a = begin; a < stop; a += page)
        cell_of(a)->prot = (unsigned char)prot;
}

static void map_over(uint64_t begin, uint64_t end) {
    const unsigned what = below(8);
    const int prot = what < 2 ? PROT_READ | (below(2) ? PROT_WRITE : 0) : any_prot();
    const enum kind kind = what == 0 ? of_file : what == 1 ? shared : anonymous;
    const int flags = MAP_FIXED | (kind == shared ? MAP_SHARED : MAP_PRIVATE) |
                      (kind == of_file ? 0 : MAP_ANONYMOUS);
    describe("mmap FIXED(%llx, %llx, %d), kind %d", (unsigned long long)begin,
             (unsigned long long)(end - begin), prot, kind);
    if (mmap(pointer(begin), end - begin, prot, flags, kind == of_file ? file : -1, 0) !=
        pointer(begin))
        wrong(begin, "%s", strerror(errno));
    set(begin, end, prot, kind, kind == of_file ? in_file : 0);
}

// A new reservation inside an emptied zone reaches to the end of its last 64 KiB or of the zone:
// governed, what is left of them is nobody's and cannot be mapped FIXED.
static uint64_t whole_granules(const struct zone* z, uint64_t end) {
    const uint64_t stop = z->base + (uint64_t)z->pages * page,
                   round = (end + 0xffff) & ~(uint64_t)0xffff;
    return !governed ? end : round < stop ? round : stop;
}

static void map_beside(uint64_t begin, uint64_t end) {
    const int prot = any_prot();
    describe("mmap NOREPLACE(%llx, %llx, %d)", (unsigned long long)begin,
             (unsigned long long)(end - begin), prot);
    const int taken = count_mapped(begin, end) != 0;
    char* p =
        mmap(pointer(begin), end - begin, prot, MAP_PRIVATE | MAP_ANONYMOUS | noreplace, -1, 0);
    if (p == MAP_FAILED) {
        // Governed, free space of an arena is handed out by granules of 64 KiB only.
        if (errno != EEXIST || !(taken || governed))
            wrong(begin, "%s", strerror(errno));
        return;
    }
    if (taken || p != pointer(begin))
        wrong(begin, "was mapped over what is there");
    set(begin, end, prot, anonymous, 0);
}

static void map_near(uint64_t begin, uint64_t end) {
    const int prot = any_prot();
    describe("mmap with hint %llx, %llx, %d", (unsigned long long)begin,
             (unsigned long long)(end - begin), prot);
    char* p = mmap(pointer(begin), end - begin, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        wrong(begin, "%s", strerror(errno));
    const uint64_t got = (uint64_t)(uintptr_t)p;
    must_be_free(got, got + (end - begin));
    set(got, got + (end - begin), prot, anonymous, 0);
    compare(got, got + (end - begin));
    if (got != begin) {
        // No zone is left for it.
        unmap(got, got + (end - begin));
        compare(got, got + (end - begin));
    }
}

static void drop(uint64_t begin, uint64_t end) {
    describe("madvise(%llx, %llx, DONTNEED)", (unsigned long long)begin,
             (unsigned long long)(end - begin));
    const int holes = count_mapped(begin, end) != (int)((end - begin) / page);
    const int got = madvise(pointer(begin), end - begin, MADV_DONTNEED) == 0 ? 0 : errno;
    if (got != (holes ? ENOMEM : 0))
        wrong(begin, "said %s", strerror(got));
    for (uint64_t a = begin; a < end; a += page) {
        struct cell* c = cell_of(a);
        if (c->mapped && c->kind != shared)
            c->word = c->kind == of_file ? in_file : 0;
    }
}

static void remap(uint64_t begin, uint64_t end, struct zone* z) {
    const struct cell first = *cell_of(begin);
    uint64_t stop = begin;
    while (stop < end && cell_of(stop)->mapped && cell_of(stop)->prot == first.prot &&
           cell_of(stop)->kind == anonymous && first.kind == anonymous)
        stop += page;
    if (stop == begin)
        return;
    end = stop;
    const uint64_t size = end - begin;
    const uint64_t wanted = (1 + below((unsigned)(size / page) * 2)) * (uint64_t)page;
    const unsigned how = below(8);
    const uint64_t to = how == 1 && governed ? all[below(zones)].base : 0;
    const int flags = how == 0 ? 0 : to != 0 ? MREMAP_MAYMOVE | MREMAP_FIXED : MREMAP_MAYMOVE;
    describe("mremap(%llx, %llx, %llx, %d, %llx)", (unsigned long long)begin,
             (unsigned long long)size, (unsigned long long)wanted, flags, (unsigned long long)to);
    if (to != 0 && to < begin + (size > wanted ? size : wanted) && begin < to + wanted)
        return;
    char* p = mremap(pointer(begin), size, wanted, flags, pointer(to));
    if (p == MAP_FAILED) {
        // EFAULT: more than one kernel mapping. ENOMEM: no room in place; onto or from memory of ours.
        const int may_lack_room = wanted > size && flags == 0;
        if (errno != EFAULT && !(errno == ENOMEM && (may_lack_room || (governed && to != 0))))
            wrong(begin, "%s", strerror(errno));
        return;
    }
    const uint64_t got = (uint64_t)(uintptr_t)p;
    static struct cell kept[most_pages];
    const uint64_t moved = wanted < size ? wanted : size;
    for (uint64_t i = 0; i < moved; i += page)
        kept[i / page] = *cell_of(begin + i);
    set_unmapped(begin, end);
    if ((flags & MREMAP_FIXED) == 0)
        must_be_free(got, got + wanted);
    set(got, got + wanted, first.prot, anonymous, 0);
    for (uint64_t i = 0; i < moved; i += page)
        cell_of(got + i)->word = kept[i / page].word;
    compare(begin, end);
    compare(got, got + wanted);
    // What moved leaves the zones again; what grew in place may reach beyond its zone.
    if (got != begin) {
        unmap(got, got + wanted);
        compare(got, got + wanted);
    } else if (!is_in_zone(got + wanted - page)) {
        z->pages = (unsigned)((got + wanted - z->base) / page);
    }
}

static void wait_for_the_driver(void) {
    char line[16];
    printf("ready\n");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(2);
}

int main(int argc, char** argv) {
    static char buffer[BUFSIZ], input[BUFSIZ];
    setvbuf(stdout, buffer, _IOLBF, sizeof buffer);
    setvbuf(stdin, input, _IOLBF, sizeof input);
    state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    steps = argc > 2 ? atol(argv[2]) : 20000;
    governed = argc > 3;
    file = memfd_create("mapping_fuzz", MFD_CLOEXEC);
    if (ftruncate(file, (off_t)4 * most_pages * page) != 0)
        return 2;
    for (int i = 0; i < 4 * most_pages; ++i)
        if (pwrite(file, &in_file, sizeof in_file, (off_t)i * page) != (ssize_t)sizeof in_file)
            return 2;
    uint64_t ignored = 0;
    query_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (query_fd >= 0) {
        // Somewhere there is a mapping.
        const int had = query_fd;
        if (mapping_access(0x1000, &ignored) == 0 && ignored == ~(uint64_t)0) {
            close(had);
            query_fd = -1;
        }
    }
    wait_for_the_driver();
    long counts[9] = {0};
    for (step = 0; step < steps; ++step) {
        struct zone* z = &all[below(zones)];
        if (z->base == 0)
            new_zone(z);
        const unsigned from = below(z->pages);
        unsigned most = z->pages - from;
        if (below(3) != 0 && most > 12)
            most = 12;
        const uint64_t begin = z->base + (uint64_t)from * page;
        uint64_t end = begin + (1 + below(most)) * (uint64_t)page;
        const unsigned what = below(9);
        ++counts[what];
        switch (what) {
        case 0: unmap(begin, end); break;
        case 1: protect(begin, end); break;
        case 2: map_over(begin, end); break;
        case 3:
            end = whole_granules(z, end);
            map_beside(begin, end);
            break;
        case 4:
            if (below(3) == 0) {
                end = whole_granules(z, end);
                map_near(begin, end);
            } else {
                drop(begin, end);
            }
            break;
        case 5: remap(begin, end, z); break;
        case 6:
            if (below(3) == 0) {
                const uint64_t base = z->base, stop = base + (uint64_t)z->pages * page;
                unmap(base, stop);
                compare(base, stop);
                z->base = 0;
                z->pages = 0;
                continue;
            }
            // fall through
        default: write_words(begin, end); break;
        }
        compare(begin, end);
        if (step % 256 == 0)
            for (int k = 0; k < zones; ++k)
                if (all[k].base != 0)
                    compare(all[k].base, all[k].base + (uint64_t)all[k].pages * page);
    }
    for (int k = 0; k < zones; ++k) {
        if (all[k].base != 0) {
            unmap(all[k].base, all[k].base + (uint64_t)all[k].pages * page);
            compare(all[k].base, all[k].base + (uint64_t)all[k].pages * page);
        }
    }
    for (long i = 0; i < table_size; ++i)
        if (table[i].mapped)
            wrong(table[i].number * page, "is mapped still");
    for (int k = 0; k < 9; ++k)
        if (counts[k] * 20 < steps)
            return printf("wrong: operation %d was drawn only %ld times\n", k, counts[k]), 1;
    printf("%ld steps agreed, the kernel %s\n", steps,
           query_fd >= 0 ? "asked for every page" : "asked by reading only");
    wait_for_the_driver();
    return 0;
}
