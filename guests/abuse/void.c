/* Jumps to where there is nothing.
 *
 * Targets: pvh64
 * Command line: where=linear|memory|stack
 * linear: an address without a mapping, which the guest's own handler reports; memory: a mapped address behind the end
 * of the memory; stack: an address without a mapping and no stack to say so on, which shuts the processor down.
 */
#include "guest.h"
#include "pvh64.h"

#define NOWHERE 0x7F0000000000UL

int main(void) {
    uintptr_t target = NOWHERE;
    printf("void: jumping (%s)\n", arg("where", "linear"));
    if (arg_is("where", "memory", "linear")) {
        target = 0xE0000000;
        *page_entry(target) &= ~PTE_NX;
        flush_tlb();
    } else if (arg_is("where", "stack", "linear")) {
        idt_set(TRAP_DF, 0, true, 0); /* no stack of its own any more */
        __asm__ volatile("movq %0, %%rsp; jmp *%0" ::"r"(target));
    }
    __asm__ volatile("jmp *%0" ::"r"(target));
    return 1;
}
