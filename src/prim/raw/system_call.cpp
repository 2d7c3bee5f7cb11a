// SPDX-License-Identifier: MIT
// A foreign program's syscall(), carried out as libc does it: six arguments as a C function gets
// them (the last on the stack) moved to where the kernel wants them, no frame, the stack as the
// caller left it, so that a child of clone() returns on its new stack.
//
// vfork is better served than by libc's syscall(): the return address waits in a register (the kernel
// keeps rdi), because the child, which goes first, uses the parent's stack.
//
// Whoever links this defines memreeve_system_call_failed(errno), which sets errno and returns -1.

#if defined(__x86_64__)

asm(R"(
    .text
    .p2align 4
    .globl memreeve_pass_system_call
    .hidden memreeve_pass_system_call
    .hidden memreeve_system_call_failed
    .type memreeve_pass_system_call, @function
memreeve_pass_system_call:
    .cfi_startproc
    cmpq $58, %rdi
    je 1f
    movq %rdi, %rax
    movq %rsi, %rdi
    movq %rdx, %rsi
    movq %rcx, %rdx
    movq %r8, %r10
    movq %r9, %r8
    movq 8(%rsp), %r9
    syscall
    cmpq $-4095, %rax
    jae 2f
    ret
1:
    movl $58, %eax
    popq %rdi
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rdi
    syscall
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rip, 0
    cmpq $-4095, %rax
    jae 2f
    ret
2:
    negl %eax
    movl %eax, %edi
    jmp memreeve_system_call_failed
    .cfi_endproc
    .size memreeve_pass_system_call, .-memreeve_pass_system_call
)");

#endif
