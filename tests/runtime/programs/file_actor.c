/* SPDX-License-Identifier: MIT
 * Does to files and views what standard input says, a line at a time, and answers each with "ok [N]"
 * or the name of the error. F, V, S: numbers of a descriptor, a view, a segment, 0 to 15. PROT: some
 * of r, w, x, or "-". Sizes and offsets in bytes.
 *
 *   memfd F NAME   shm_open F NAME   shm_unlink NAME   open F PATH   truncate F SIZE
 *   fallocate F MODE OFFSET SIZE     posix_fallocate F OFFSET SIZE   dup F F2   close F   send F F2
 *   read_only F F2 (F2 is F, opened again to read)   seal F (its size stays)
 *   map V F OFFSET SIZE PROT         map_over V F OFFSET SIZE PROT   (over view V's start)
 *   map_private V F OFFSET SIZE PROT reserve V SIZE   anonymous V SIZE
 *   protect V OFFSET SIZE PROT       unmap V OFFSET SIZE   remap V OLD NEW
 *   remove V OFFSET SIZE             touch V OFFSET SIZE   clear V OFFSET SIZE   read V OFFSET
 *   blocks F (pages that the kernel keeps for it)          fill (anonymous memory until refused)
 *   segment S SIZE   attach V S PROT   detach V   remove_segment S
 *   refuse V OFFSET (from now on the kernel maps nothing there: ENOMEM)
 *   fork (the child goes on, until "exit")   exec   exit */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int files[16];
static char* views[16];
static int segments[16];

static void answer(long result) {
    char line[64];
    if (result == -1) {
        const char* name = strerrorname_np(errno);
        snprintf(line, sizeof line, "%s\n", name != NULL ? name : "?");
    } else {
        snprintf(line, sizeof line, "ok %ld\n", result);
    }
    if (write(1, line, strlen(line)) < 0) {
        _exit(1);
    }
}

static int read_line(char* line, size_t size) {
    size_t n = 0;
    char c = 0;
    while (n + 1 < size && read(0, &c, 1) == 1) {
        if (c == '\n') {
            line[n] = '\0';
            return 1;
        }
        line[n++] = c;
    }
    return 0;
}

static int access_of(const char* text) {
    return (strchr(text, 'r') != NULL ? PROT_READ : 0) |
           (strchr(text, 'w') != NULL ? PROT_WRITE : 0) |
           (strchr(text, 'x') != NULL ? PROT_EXEC : 0);
}

static long map(int v, void* where, int file, int flags, long offset, long size, const char* prot) {
    void* got = mmap(where, (size_t)size, access_of(prot), flags, file, offset);
    if (got == MAP_FAILED) {
        return -1;
    }
    views[v] = got;
    return 0;
}

static long send_to_myself(int file) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) != 0) {
        return -1;
    }
    char byte = 'x';
    struct iovec data = {&byte, 1};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr head;
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &file, sizeof file);
    int got = -1;
    if (sendmsg(ends[0], &message, 0) == 1 && recvmsg(ends[1], &message, 0) == 1) {
        memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
    }
    close(ends[0]);
    close(ends[1]);
    return got;
}

/* Pieces that halve, so that not a page is left; how many pages. */
static long fill(void) {
    long pages = 0;
    for (size_t size = (size_t)64 << 20; size >= 4096; size /= 2) {
        while (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
               MAP_FAILED) {
            pages += (long)(size / 4096);
        }
    }
    return pages;
}

static long blocks(int fd) {
    struct stat about;
    return fstat(fd, &about) != 0 ? -1 : (long)about.st_blocks * 512 / 4096;
}

static long refuse_at(const void* where) {
    const unsigned long at = (unsigned long)where;
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)at, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(at >> 32), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
               ? -1
               : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int is(const char* word, const char* wanted) { return strcmp(word, wanted) == 0; }

int main(int argc, char** argv) {
    char line[512];
    if (argc > 1) {
        answer(0); // to "exec"
    }
    while (read_line(line, sizeof line)) {
        char* w[8] = {line, "", "", "", "", "", "", ""};
        int n = 0;
        for (char* t = strtok(line, " "); t != NULL && n < 8; t = strtok(NULL, " ")) {
            w[n++] = t;
        }
        const int i = atoi(w[1]) & 15;
        const long a = atol(w[2]);
        const long b = atol(w[3]);
        const long c = atol(w[4]);
        long r = 0;
        if (is(w[0], "memfd")) {
            r = files[i] = memfd_create(w[2], MFD_CLOEXEC | MFD_ALLOW_SEALING);
        } else if (is(w[0], "shm_open")) {
            r = files[i] = shm_open(w[2], O_RDWR | O_CREAT, 0600);
        } else if (is(w[0], "shm_unlink")) {
            r = shm_unlink(w[1]);
        } else if (is(w[0], "open")) {
            r = files[i] = open(w[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        } else if (is(w[0], "truncate")) {
            r = ftruncate(files[i], a);
        } else if (is(w[0], "fallocate")) {
            r = fallocate(files[i], (int)a, b, c);
        } else if (is(w[0], "posix_fallocate")) {
            errno = posix_fallocate(files[i], a, b);
            r = errno == 0 ? 0 : -1;
        } else if (is(w[0], "read_only")) {
            char path[64];
            snprintf(path, sizeof path, "/proc/self/fd/%d", files[i]);
            r = files[a & 15] = open(path, O_RDONLY | O_CLOEXEC);
        } else if (is(w[0], "seal")) {
            r = fcntl(files[i], F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK);
        } else if (is(w[0], "dup")) {
            r = files[a & 15] = dup(files[i]);
        } else if (is(w[0], "close")) {
            r = close(files[i]);
        } else if (is(w[0], "send")) {
            r = files[a & 15] = (int)send_to_myself(files[i]);
        } else if (is(w[0], "map")) {
            r = map(i, NULL, files[a & 15], MAP_SHARED, b, c, w[5]);
        } else if (is(w[0], "map_over")) {
            r = map(i, views[i], files[a & 15], MAP_SHARED | MAP_FIXED, b, c, w[5]);
        } else if (is(w[0], "map_private")) {
            r = map(i, NULL, files[a & 15], MAP_PRIVATE, b, c, w[5]);
        } else if (is(w[0], "reserve")) {
            r = map(i, NULL, -1, MAP_PRIVATE | MAP_ANONYMOUS, 0, a, "-");
        } else if (is(w[0], "anonymous")) {
            r = map(i, NULL, -1, MAP_PRIVATE | MAP_ANONYMOUS, 0, a, "rw");
        } else if (is(w[0], "protect")) {
            r = mprotect(views[i] + a, (size_t)b, access_of(w[4]));
        } else if (is(w[0], "unmap")) {
            r = munmap(views[i] + a, (size_t)b);
        } else if (is(w[0], "remap")) {
            void* got = mremap(views[i], (size_t)a, (size_t)b, MREMAP_MAYMOVE);
            r = got == MAP_FAILED ? -1 : 0;
            views[i] = got == MAP_FAILED ? views[i] : got;
        } else if (is(w[0], "remove")) {
            r = madvise(views[i] + a, (size_t)b, MADV_REMOVE);
        } else if (is(w[0], "touch")) {
            memset(views[i] + a, 0x5a, (size_t)b);
        } else if (is(w[0], "clear")) {
            memset(views[i] + a, 0, (size_t)b);
        } else if (is(w[0], "blocks")) {
            r = blocks(files[i]);
        } else if (is(w[0], "fill")) {
            r = fill();
        } else if (is(w[0], "refuse")) {
            r = refuse_at(views[i] + a);
        } else if (is(w[0], "read")) {
            r = *(unsigned char*)(views[i] + a);
        } else if (is(w[0], "segment")) {
            r = segments[i] = shmget(IPC_PRIVATE, (size_t)a, IPC_CREAT | 0600);
        } else if (is(w[0], "attach")) {
            void* got = shmat(segments[a & 15], NULL, is(w[3], "r") ? SHM_RDONLY : 0);
            r = got == (void*)-1 ? -1 : 0;
            views[i] = got == (void*)-1 ? views[i] : got;
        } else if (is(w[0], "detach")) {
            r = shmdt(views[i]);
        } else if (is(w[0], "remove_segment")) {
            r = shmctl(segments[i], IPC_RMID, NULL);
        } else if (is(w[0], "fork")) {
            const pid_t child = fork();
            if (child > 0) {
                waitpid(child, NULL, 0);
            }
            r = getpid();
        } else if (is(w[0], "exec")) {
            execl("/proc/self/exe", argv[0], "executed", (char*)NULL);
            r = -1;
        } else if (is(w[0], "exit")) {
            return 0;
        } else {
            errno = ENOTSUP;
            r = -1;
        }
        answer(r);
    }
    return 0;
}
