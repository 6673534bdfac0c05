/* A PVH kernel that stays in 32-bit mode: PAGING 0 without paging, 1 with 4 MiB pages, 2 with PAE and 2 MiB pages, 3 and 4
 * with 4 KiB pages of either kind.  It reads the TSC three times, once with a prefix, and asks CPUID twice, all a hundred
 * times, makes a hypercall with the sum of what it saw, and powers off. */
#define PTE 0x63
#define LARGE 0xE3
#define AUX 0x1234
    .code32
    .globl _start
_start:
    movl $stack_end, %esp
#if PAGING == 1
    movl $LARGE, directory
#elif PAGING == 2
    movl $directory + 1, pointers
    movl $LARGE, directory
#elif PAGING >= 3
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $12, %eax
    orl $PTE, %eax
#if PAGING == 3
    movl %eax, table(, %ecx, 4)
#else
    movl %eax, table(, %ecx, 8)
#endif
    incl %ecx
    cmpl $512, %ecx
    jne 1b
    movl $table + PTE, directory
#if PAGING == 4
    movl $directory + 1, pointers
#endif
#endif
#if PAGING
#if PAGING == 2 || PAGING == 4
    movl $0x20, %eax
    movl $pointers, %ecx
#else
    movl $0x10, %eax
    movl $directory, %ecx
#endif
    movl %eax, %cr4
    movl %ecx, %cr3
    movl $0x80010011, %eax
    movl %eax, %cr0
    jmp 1f
1:
#endif
    movl $0xC0000103, %ecx      /* TSC_AUX */
    movl $AUX, %eax
    xorl %edx, %edx
    wrmsr
    xorl %esi, %esi
    movl $100, %edi
again:
    xorl %eax, %eax
    cpuid
    addl %ebx, %esi
    rdtsc
    addl %eax, %esi
    .byte 0x3E                  /* DS */
    rdtsc
    xorl %eax, %esi
    clc
    rdtscp
    jc wrong
    cmpl $AUX, %ecx
    jne wrong
    addl %eax, %esi
    roll $3, %esi
    movl $0x40000003, %eax
    movl %edi, %ecx
    andl $3, %ecx
    cpuid
    addl %ecx, %esi
    decl %edi
    jnz again
    movl $17, %eax              /* xen_version, for the trace to have the sum */
    xorl %ebx, %ebx
    movl %esi, %ecx
    vmmcall
    movl $29, %eax              /* sched_op */
    movl $2, %ebx               /* SCHEDOP_shutdown */
    movl $reason, %ecx
    vmmcall
wrong:
    ud2
    .data
reason: .long 0
    .section .note.Xen, "a", @note
    .long 4, 4, 18              /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long _start
    .bss
    .balign 4096
directory: .fill 4096
table: .fill 4096
pointers: .fill 32
    .fill 256
stack_end:
