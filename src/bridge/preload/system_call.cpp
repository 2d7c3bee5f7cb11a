// SPDX-License-Identifier: MIT
// syscall(): hot (the JVM's futexes go through it) and able to do what no C function can (vfork,
// clone). So the way to the kernel has no frame: one look into a table of bytes, then a jump, to
// prim's tail or to the function below, which gets the arguments exactly as they came.
#include "bridge/asking.hpp"
#include "bridge/pictures.hpp"
#include "bridge/shared_files.hpp"
#include "bridge/state.hpp"
#include "bridge/translate.hpp"
#include "prim/file_view.hpp"
#include "prim/prim.hpp"
#include "prim/process_view.hpp"

#include <cerrno>
#include <cstdint>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#if defined(__x86_64__)

using namespace memreeve;

#define MEMREEVE_HIDDEN extern "C" __attribute__((visibility("hidden")))

// preload/processes.cpp: our execve under a name that no other library can take.
MEMREEVE_HIDDEN int memreeve_execve(const char* path, char* const arguments[],
                                    char* const environment[]) noexcept;

namespace {

constexpr long routed_numbers[] = {
    SYS_mmap,      SYS_munmap,    SYS_mprotect,     SYS_madvise,       SYS_mremap, SYS_brk,
    SYS_ftruncate, SYS_fallocate, SYS_memfd_create, SYS_shmat,         SYS_shmdt,  SYS_shmctl,
    SYS_execve,    SYS_execveat,  SYS_exit_group,   SYS_pkey_mprotect,
};

struct routing_table {
    unsigned char of[332]{};
    constexpr routing_table() noexcept {
        for (const long n : routed_numbers) {
            of[n] = 1;
        }
    }
};

address at(long value) noexcept { return static_cast<address>(value); }
byte_count bytes(long value) noexcept { return static_cast<byte_count>(value); }
template <class T>
T* pointer(long value) noexcept {
    return reinterpret_cast<T*>(value);
}

// The kernel's result.
long route(bridge::state& s, long number, long a, long b, long c, long d, long e, long f) noexcept {
    switch (number) {
    case SYS_mmap:
        return bridge::map_memory(s, at(a), bytes(b), static_cast<int>(c), static_cast<int>(d),
                                  static_cast<int>(e), f);
    case SYS_munmap: return bridge::unmap_memory(s, at(a), bytes(b));
    case SYS_mprotect: return bridge::protect_memory(s, at(a), bytes(b), static_cast<int>(c));
    case SYS_pkey_mprotect: {
        const long r = bridge::protect_memory(s, at(a), bytes(b), static_cast<int>(c));
        const int key = static_cast<int>(d);
        return r < 0 || key == -1
                   ? r
                   : prim::pass_pkey_mprotect(at(a), bytes(b), static_cast<int>(c), key);
    }
    case SYS_madvise: return bridge::advise_memory(s, at(a), bytes(b), static_cast<int>(c));
    case SYS_mremap:
        return bridge::remap_memory(s, at(a), bytes(b), bytes(c), static_cast<int>(d), at(e));
    case SYS_brk: {
        const long now = prim::pass_brk(0);
        return at(a) > at(now) && !bridge::may_grow_break(s, at(a) - at(now))
                   ? now // the kernel's way to refuse
                   : prim::pass_brk(at(a));
    }
    case SYS_ftruncate: return bridge::resize_file(s, static_cast<int>(a), b);
    case SYS_fallocate:
        return bridge::allocate_file(s, static_cast<int>(a), static_cast<int>(b), c, d);
    case SYS_memfd_create:
        return bridge::create_memory_file(s, pointer<const char>(a), static_cast<unsigned>(b));
    case SYS_shmat:
        return bridge::attach_segment(s, static_cast<int>(a), at(b), static_cast<int>(c));
    case SYS_shmdt: return bridge::detach_segment(s, at(a));
    case SYS_shmctl: {
        const long r = prim::sys(number, a, b, c);
        if (r >= 0 && b == IPC_RMID) {
            bridge::after_removal(s);
        }
        return r;
    }
    case SYS_execveat: bridge::publish_picture(s); break;
    case SYS_exit_group: bridge::publish_last_picture(s); break;
    default: break;
    }
    return prim::sys(number, a, b, c, d, e, f);
}

} // namespace

MEMREEVE_HIDDEN constexpr routing_table memreeve_routed_system_calls{};

MEMREEVE_HIDDEN long memreeve_system_call_failed(int code) noexcept {
    errno = code;
    return -1;
}

MEMREEVE_HIDDEN long memreeve_routed_system_call(long number, long a, long b, long c, long d,
                                                 long e, long f) noexcept {
    if (number == SYS_execve) {
        return memreeve_execve(pointer<const char>(a), pointer<char* const>(b),
                               pointer<char* const>(c));
    }
    const bridge::asking by(__builtin_return_address(0)); // syscall() jumps here
    // Memory given out before may be given back to a host that has let go.
    const bool makes = (number == SYS_mmap && (d & MAP_FIXED) == 0) || number == SYS_brk ||
                       number == SYS_memfd_create || number == SYS_shmat;
    bridge::state* s = makes ? bridge::governed() : bridge::holding();
    const long r =
        s != nullptr ? route(*s, number, a, b, c, d, e, f) : prim::sys(number, a, b, c, d, e, f);
    return r < 0 && r >= -4095 ? memreeve_system_call_failed(static_cast<int>(-r)) : r;
}

static_assert(sizeof(routing_table) == 332, "the comparison below");

asm(R"(
    .text
    .p2align 4
    .globl syscall
    .type syscall, @function
    .hidden memreeve_pass_system_call
    .hidden memreeve_routed_system_call
    .hidden memreeve_routed_system_calls
syscall:
    .cfi_startproc
    cmpq $331, %rdi
    ja memreeve_pass_system_call
    leaq memreeve_routed_system_calls(%rip), %rax
    cmpb $0, (%rax,%rdi)
    je memreeve_pass_system_call
    jmp memreeve_routed_system_call
    .cfi_endproc
    .size syscall, .-syscall
)");

#endif
