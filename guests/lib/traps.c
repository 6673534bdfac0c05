/* Exceptions: first to what a program set, then to a CATCH() that waits, else the domain ends. */
#include "traps.h"

#include "panic.h"

#define EXCEPTIONS 32

static trap_handler_t handlers[256];
struct fault last_fault = {.vector = NO_TRAP};
unsigned long catch_ip; /* where CATCH() wants to go on; 0 when nothing is being tried */

void trap_handle(unsigned int vector, trap_handler_t handler) {
    handlers[vector % 256] = handler;
}

void trap_dispatch(struct trap_frame *frame) {
    unsigned int vector = (unsigned int)frame->vector % 256;
    if (handlers[vector]) {
        handlers[vector](frame);
    } else if (catch_ip && vector < EXCEPTIONS) {
        last_fault = (struct fault){(int)vector, frame->error, fault_address(), frame->ip};
        frame->ip = catch_ip;
        catch_ip = 0;
    } else {
        trap_dump(frame);
        panic("exception %u at %p", vector, (void *)frame->ip);
    }
}

int probe_read(const volatile void *address) {
    unsigned char value;
    CATCH("movb (%[address]), %[value]", [value] "=&q"(value) : [address] "r"(address));
    return last_fault.vector;
}

int probe_write(volatile void *address, uint8_t value) {
    int unused;
    CATCH("movb %[value], (%[address])", [unused] "=r"(unused) : [address] "r"(address), [value] "q"(value));
    return last_fault.vector;
}
