/* To ring 3 and back, and what runs there.  The user code shares one page, which ring3.c opens to ring 3. */
#define KERNEL_DS 0x10
#define USER_DS (0x20 | 3)
#define USER_CS (0x28 | 3)

    .text
    .globl enter_user, leave_user
enter_user:                     /* rdi entry, rsi stack, rdx argument */
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, kernel_stack
    pushq $USER_DS
    pushq %rsi
    pushq $0x2
    pushq $USER_CS
    pushq %rdi
    movq %rdx, %rdi
    iretq
leave_user:                     /* the handlers in ring3.c come back here with rsp = kernel_stack */
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

    .globl user_syscall_target
user_syscall_target:            /* ring 0, still on the user's stack */
    movq %rcx, syscall_rip
    movq %r11, syscall_flags
    sysretq

    .balign 4096
    .globl user_page, user_return, user_gate, user_denied_gate, user_hlt, user_cli, user_out, user_read, user_write
    .globl user_msr, user_vmmcall, user_syscall, user_after_syscall, user_undefined
user_page:
user_return:
    int $0x83
user_gate:
    int $0x82
    int $0x83
user_denied_gate:
    int $0x84
user_hlt:
    hlt
user_cli:
    cli
user_out:
    movb $33, %al
    outb %al, $0xE9
    int $0x83
user_read:
    movb (%rdi), %al
    int $0x83
user_write:
    movb %al, (%rdi)
    int $0x83
user_msr:
    movl $0x10, %ecx
    rdmsr
    int $0x83
user_vmmcall:
    movl $17, %eax              /* xen_version, version */
    xorl %edi, %edi
    vmmcall
    int $0x83
user_syscall:
    syscall
user_after_syscall:
    int $0x83
user_undefined:
    ud2
    .balign 4096

    .section .note.GNU-stack, "", @progbits
