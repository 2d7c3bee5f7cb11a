/* SPDX-License-Identifier: MIT
 * denied CALL ERRNO COMMAND [ARG...]: runs the command where one system call answers with an error,
 * as in a strict container. CALL is a name below, with :N where only its argument of that value is
 * denied (madvise:14). Ends with 77 where filters cannot be set up. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char* name;
    unsigned number;
    unsigned argument; /* which of its arguments :N means */
} calls[] = {
    {"memfd_create", SYS_memfd_create, 0},
    {"madvise", SYS_madvise, 2},
    {"ioctl", SYS_ioctl, 1},
    {"process_vm_readv", SYS_process_vm_readv, 0},
    {"process_madvise", SYS_process_madvise, 0},
    {"pidfd_open", SYS_pidfd_open, 0},
    {"pidfd_send_signal", SYS_pidfd_send_signal, 0},
    {"mremap", SYS_mremap, 3},
    {"userfaultfd", SYS_userfaultfd, 0},
    {"futex", SYS_futex, 1},
    {"eventfd2", SYS_eventfd2, 0},
    {"signalfd4", SYS_signalfd4, 0},
    {"clone3", SYS_clone3, 0},
    {"waitid", SYS_waitid, 0},
    {"readlink", SYS_readlink, 0},
    {"readlinkat", SYS_readlinkat, 0},
    {"getrandom", SYS_getrandom, 0},
    {"statx", SYS_statx, 0},
    {"faccessat2", SYS_faccessat2, 0},
    {"access", SYS_access, 0},
    {"fgetxattr", SYS_fgetxattr, 0},
    {"getxattr", SYS_getxattr, 0},
    {"pread64", SYS_pread64, 0},
    {"kcmp", SYS_kcmp, 0},
    {"membarrier", SYS_membarrier, 0},
    {"sched_yield", SYS_sched_yield, 0},
    {"rseq", SYS_rseq, 0},
};

int main(int argc, char** argv) {
    char name[64] = "";
    unsigned long long value = 0;
    const int words = argc < 4 ? 0 : sscanf(argv[1], "%63[^:]:%lli", name, (long long*)&value);
    size_t i = 0;
    while (i < sizeof calls / sizeof calls[0] && strcmp(calls[i].name, name) != 0) {
        ++i;
    }
    if (words < 1 || i == sizeof calls / sizeof calls[0]) {
        fprintf(stderr, "usage: denied CALL[:ARGUMENT] ERRNO COMMAND [ARG...]\n");
        return 2;
    }
    const unsigned where = (unsigned)offsetof(struct seccomp_data, args) + 8 * calls[i].argument;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, where),
        BPF_JUMP(BPF_JMP | (words > 1 ? BPF_JEQ : BPF_JGE) | BPF_K, (unsigned)value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)atoi(argv[2])),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        perror("seccomp");
        return 77;
    }
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    return 77;
}
