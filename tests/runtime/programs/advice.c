// SPDX-License-Identifier: MIT
// What a program tells the kernel of its memory ends with that memory: says, for three sizes, what the
// next mapping of the same size, a child and a protected page are like after it.
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { wipe_on_fork = 18, guard_install = 102, guard_remove = 103 };

static sigjmp_buf back;
static void on_fault(int number) { siglongjmp(back, number); }

static const char* touched(volatile char* p) {
    if (sigsetjmp(back, 1) != 0) {
        return "faults";
    }
    p[0] = 1;
    return "works";
}

static char* map(size_t size, int prot) {
    char* p = mmap(0, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static int child_sees(volatile char* p) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        _exit(p[0]);
    }
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

int main(void) {
    const size_t sizes[] = {4096, 65536, 1 << 20};
    const int read_write = PROT_READ | PROT_WRITE;
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    setbuf(stdout, 0); // the children have nothing to write
    for (int k = 0; k < 3; ++k) {
        const size_t size = sizes[k];
        char* a = map(size, read_write);
        a[0] = 1;
        const int wiped = madvise(a, size, wipe_on_fork);
        printf("%zu: wiped in a child: %d %d\n", size, wiped, child_sees(a));
        munmap(a, size);
        a = map(size, read_write);
        a[0] = 7;
        printf("%zu: the next one: %d\n", size, child_sees(a));
        munmap(a, size);
        a = map(size, read_write);
        madvise(a, size, guard_install);
        munmap(a, size);
        a = map(size, read_write);
        printf("%zu: after markers %s\n", size, touched(a));
        madvise(a, size, guard_install);
        a = mmap(a, size, read_write, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        printf("%zu: mapped over markers %s\n", size, touched(a));
        munmap(a, size);
        a = map(size, PROT_NONE);
        madvise(a, size, guard_remove);
        printf("%zu: protected %s\n", size, touched(a));
        mprotect(a, size, read_write);
        printf("%zu: then %d, %s\n", size, a[size - 1], touched(a));
        munmap(a, size);
    }
    return 0;
}
