/* The processor as a 64-bit PV guest has it: kernel in ring 3, hypercalls by SYSCALL. */
#pragma once
#include <stdint.h>

/* The builder has Xen fill it: 128 entries of 32 bytes. */
extern char hypercall_page[4096];

#define HYPERCALL_OPERANDS                                                                                    \
    register unsigned long r10 __asm__("r10") = a4;                                                           \
    register unsigned long r8 __asm__("r8") = a5;                                                             \
    long result
#define HYPERCALL_CLOBBERS "rcx", "r9", "r11", "memory"

/* Any hypercall that has an entry (n below 128). */
static inline long hypercall(unsigned int n, unsigned long a1, unsigned long a2, unsigned long a3, unsigned long a4,
                             unsigned long a5) {
    HYPERCALL_OPERANDS;
    __asm__ volatile("call *%[entry]"
                     : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8)
                     : [entry] "a"(hypercall_page + 32UL * n)
                     : HYPERCALL_CLOBBERS);
    return result;
}

/* The instruction itself, with any number. */
static inline long hypercall_raw(unsigned long n, unsigned long a1, unsigned long a2, unsigned long a3,
                                 unsigned long a4, unsigned long a5) {
    HYPERCALL_OPERANDS;
    __asm__ volatile("syscall"
                     : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8)
                     : "a"(n)
                     : HYPERCALL_CLOBBERS);
    return result;
}

/* What the entry code leaves on the stack, low addresses first. */
struct trap_frame {
    unsigned long r15, r14, r13, r12, r11, r10, r9, r8;
    unsigned long di, si, bp, bx, dx, cx, ax;
    unsigned long vector, error; /* 0 for vectors without an error code */
    unsigned long ip, cs, flags, sp, ss; /* the mask of upcalls, as it was, is in the upper half of cs */
};

#define KERNEL_CS 0xE033
#define M2P_ADDRESS 0xFFFF800000000000
#define PAGE_TABLE_LEVELS 4

#include "cpu.h"

/* CATCH(instructions, outputs : inputs): an exception in them is recorded in last_fault and goes on behind them. */
#define CATCH(instructions, ...)                                                                      \
    do {                                                                                              \
        last_fault.vector = NO_TRAP;                                                                  \
        __asm__ volatile("movq $77f, catch_ip\n\t" instructions "\n77:\tmovq $0, catch_ip"            \
                         : __VA_ARGS__                                                                \
                         : "memory");                                                                 \
    } while (0)
