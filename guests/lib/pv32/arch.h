/* The processor as a 32-bit PV guest has it: kernel in ring 1, hypercalls by int 0x82. */
#pragma once
#include <stdint.h>

/* The builder has Xen fill it: 128 entries of 32 bytes. */
extern char hypercall_page[4096];

/* Any hypercall that has an entry (n below 128). */
static inline long hypercall(unsigned int n, unsigned long a1, unsigned long a2, unsigned long a3, unsigned long a4,
                             unsigned long a5) {
    long result;
    __asm__ volatile("call *%[entry]"
                     : "=a"(result), "+b"(a1), "+c"(a2), "+d"(a3), "+S"(a4), "+D"(a5)
                     : [entry] "a"(hypercall_page + 32UL * n)
                     : "memory");
    return result;
}

/* The instruction itself, with any number. */
static inline long hypercall_raw(unsigned long n, unsigned long a1, unsigned long a2, unsigned long a3,
                                 unsigned long a4, unsigned long a5) {
    long result;
    __asm__ volatile("int $0x82"
                     : "=a"(result), "+b"(a1), "+c"(a2), "+d"(a3), "+S"(a4), "+D"(a5)
                     : "a"(n)
                     : "memory");
    return result;
}

/* What the entry code leaves on the stack, low addresses first. */
struct trap_frame {
    unsigned long di, si, bp, own_sp, bx, dx, cx, ax;
    unsigned long vector, error; /* 0 for vectors without an error code */
    unsigned long ip, cs, flags; /* the mask of upcalls, as it was, is in the upper half of cs */
    unsigned long sp, ss;        /* only in a frame from ring 3 */
};

#define KERNEL_CS 0xE019
#define M2P_ADDRESS 0xF5800000
#define PAGE_TABLE_LEVELS 3

#include "cpu.h"

/* CATCH(instructions, outputs : inputs): an exception in them is recorded in last_fault and goes on behind them. */
#define CATCH(instructions, ...)                                                                      \
    do {                                                                                              \
        last_fault.vector = NO_TRAP;                                                                  \
        __asm__ volatile("movl $77f, catch_ip\n\t" instructions "\n77:\tmovl $0, catch_ip"            \
                         : __VA_ARGS__                                                                \
                         : "memory");                                                                 \
    } while (0)
