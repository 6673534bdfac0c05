/* 256 entries that differ in the vector only, and what they have in common. */

/* Vectors for which the processor pushes an error code: 8, 10 to 14, 17, 21, 29 and 30. */
#define WITH_ERROR_CODE 0x60227D00

    .text
    .balign 16
    .globl vector_entries
    .type vector_entries, @function
vector_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector < 32
    .if !((WITH_ERROR_CODE >> vector) & 1)
    pushq $0
    .endif
    .else
    pushq $0
    .endif
    pushq $vector
    jmp vector_common
    .set vector, vector + 1
    .endr

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
    addq $16, %rsp              /* vector and error code */
    iretq

    .section .note.GNU-stack, "", @progbits
