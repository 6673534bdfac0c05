/* Exceptions.  One without a handler is dumped and crashes the domain. */
#pragma once
#include <stdint.h>

#include "arch.h"

enum trap {
    TRAP_DE = 0,
    TRAP_DB = 1,
    TRAP_NMI = 2,
    TRAP_BP = 3,
    TRAP_OF = 4,
    TRAP_UD = 6,
    TRAP_NM = 7,
    TRAP_DF = 8,
    TRAP_NP = 11,
    TRAP_SS = 12,
    TRAP_GP = 13,
    TRAP_PF = 14,
    TRAP_AC = 17,
};

#define NO_TRAP (-1)

typedef void (*trap_handler_t)(struct trap_frame *frame);

/* Have `handler` called for `vector`; null restores the dump. */
void trap_handle(unsigned int vector, trap_handler_t handler);

/* What CATCH() saw. */
struct fault {
    int vector; /* NO_TRAP when nothing happened */
    unsigned long error;
    unsigned long address; /* CR2, of a page fault */
    unsigned long ip;
};
extern struct fault last_fault;

/* Try a read or a write of one byte: the vector that it raised, or NO_TRAP; details in last_fault. */
int probe_read(const volatile void *address);
int probe_write(volatile void *address, uint8_t value);

/* CATCH(instructions, operands) is in arch.h: run inline assembly; an exception in it ends it and is recorded. */

/* What the exceptions' entry code calls. */
void trap_dispatch(struct trap_frame *frame);
/* Print vector, error and registers.  One per guest kind. */
void trap_dump(const struct trap_frame *frame);
