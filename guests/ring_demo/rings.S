/* To ring 3 and back, and what runs there, in a page that main.c opens to it. */
#define FLAT_RING3_CS 0xE02B
#define FLAT_RING3_DS 0xE033

    .text
    .globl enter_ring3, leave_ring3
    .type enter_ring3, @function
enter_ring3:                    /* (entry, end of the stack, argument in ebx there) */
    movl 4(%esp), %eax
    movl 8(%esp), %ecx
    movl 12(%esp), %edx
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %esp, ring1_esp
    movl %edx, %ebx
    movl $FLAT_RING3_DS, %edx   /* both rings may have it; of ring 1's, the way out would leave nothing */
    movl %edx, %ds
    movl %edx, %es
    pushl %edx                  /* ss */
    pushl %ecx
    pushl $0x202                /* upcalls open */
    pushl $FLAT_RING3_CS
    pushl %eax
    iret                        /* the processor's own: outwards nobody has to help */

    .type leave_ring3, @function
leave_ring3:                    /* main.c's handlers come back here, in ring 1 */
    movl ring1_esp, %esp
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

    .balign 4096
    .globl ring3_page, ring3_hypercall, ring3_breakpoint, ring3_cr0, ring3_read
ring3_page:
ring3_hypercall:                /* xen_version(XENVER_version), as ring 1 calls it */
    movl $17, %eax
    xorl %ebx, %ebx
    int $0x82
    int3
ring3_breakpoint:
    int3
ring3_cr0:
    movl %cr0, %eax
    int3
ring3_read:
    movb (%ebx), %al
    int3
    .balign 4096

    .section .note.GNU-stack, "", @progbits
