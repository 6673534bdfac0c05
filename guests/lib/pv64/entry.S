/* On entry: RSI is the address of start_info, paging is on, RSP at the end of the builder's stack, upcalls masked. */
#define IRET_ENTRY (23 * 32)
#define UPCALL_VECTOR 0x40

/* Vectors for which there is an error code: 8, 10 to 14, 17, 21, 29 and 30. */
#define WITH_ERROR_CODE 0x60227D00

    .section .head, "ax", @progbits
    .globl _start
    .type _start, @function
_start:
    cld
    movq $boot_stack_end, %rsp
    xorl %ebp, %ebp             /* where a walk of the frames ends */
    movq %rsi, %rdi
    call pv_start
    ud2

/* Xen pushes what SYSRET destroys, rcx and r11, below everything else. */
    .text
    .balign 16
    .globl vector_entries
    .type vector_entries, @function
vector_entries:
    .set vector, 0
    .rept 32
    .balign 16
    popq %rcx
    popq %r11
    .if !((WITH_ERROR_CODE >> vector) & 1)
    pushq $0
    .endif
    pushq $vector
    jmp vector_common
    .set vector, vector + 1
    .endr

    .globl upcall_entry
    .type upcall_entry, @function
upcall_entry:
    popq %rcx
    popq %r11
    pushq $0
    pushq $UPCALL_VECTOR

    .globl vector_common
    .type vector_common, @function
vector_common:
    cld
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    movq %rsp, %rbp             /* callee-saved: rsp comes back from it, aligned for C in between */
    andq $-16, %rsp
    call vector_dispatch
    movq %rbp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $8, %rsp               /* the vector */
    movq $0, (%rsp)             /* the error code's place is that of iret's flags */
    jmp hypercall_page + IRET_ENTRY

/* A segment could not be loaded on the way back to us.  That is not to happen. */
    .globl failsafe_entry
    .type failsafe_entry, @function
failsafe_entry:
    call pv_failsafe
    ud2

#include "notes.h"
