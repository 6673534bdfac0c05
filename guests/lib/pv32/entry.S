/* On entry: ESI is the address of start_info, paging is on, ESP at the end of the builder's stack, upcalls masked. */
#define IRET_ENTRY (23 * 32)
#define UPCALL_VECTOR 0x40

/* Vectors for which there is an error code: 8, 10 to 14, 17, 21, 29 and 30. */
#define WITH_ERROR_CODE 0x60227D00

    .section .head, "ax", @progbits
    .globl _start
    .type _start, @function
_start:
    cld
    movl $boot_stack_end, %esp
    xorl %ebp, %ebp             /* where a walk of the frames ends */
    pushl %esi
    call pv_start
    ud2

    .text
    .balign 16
    .globl vector_entries
    .type vector_entries, @function
vector_entries:
    .set vector, 0
    .rept 32
    .balign 16
    .if !((WITH_ERROR_CODE >> vector) & 1)
    pushl $0
    .endif
    pushl $vector
    jmp vector_common
    .set vector, vector + 1
    .endr

    .globl upcall_entry
    .type upcall_entry, @function
upcall_entry:
    pushl $0
    pushl $UPCALL_VECTOR

    .globl vector_common
    .type vector_common, @function
vector_common:
    cld
    pushal
    movl %esp, %ebp
    andl $-16, %esp             /* aligned for C */
    subl $12, %esp
    pushl %ebp
    call vector_dispatch
    movl %ebp, %esp
    popal
    addl $8, %esp               /* vector and error code */
    jmp hypercall_page + IRET_ENTRY

/* A segment could not be loaded on the way back to us.  That is not to happen. */
    .globl failsafe_entry
    .type failsafe_entry, @function
failsafe_entry:
    call pv_failsafe
    ud2

#include "notes.h"
