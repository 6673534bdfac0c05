/* All other processors of a domain are started at once, by one message, in real mode; each counts itself and ends. */
#include "guest.h"

#define PAGE_OF_THEIRS 8
#define APIC_ICR 0x830
#define STARTUP_OTHERS (3u << 18 | 0x4600)

extern const char count_me[], count_me_end[];
__asm__(".section .rodata\n"
        "count_me:\n"
        ".code16\n"
        "   movw %cs, %ax\n"
        "   movw %ax, %ds\n"
        "   lock; incw 0x100\n"
        "1: hlt\n"
        "   jmp 1b\n"
        "count_me_end:\n"
        ".code64\n"
        ".text\n");

int main(void) {
    volatile uint16_t *counted = (volatile uint16_t *)(PAGE_OF_THEIRS * PAGE_SIZE + 0x100);
    unsigned int vcpus = (unsigned int)arg_number("vcpus", 2), down = 0;
    *counted = 0;
    memcpy((void *)(PAGE_OF_THEIRS * PAGE_SIZE), count_me, (size_t)(count_me_end - count_me));
    msr_write(APIC_ICR, STARTUP_OTHERS | PAGE_OF_THEIRS);
    for (unsigned int vcpu = 1; vcpu < vcpus; vcpu++) {
        while (hypercall_vcpu_op(VCPUOP_is_up, vcpu, 0) == 1)
            sched_yield();
        down++;
    }
    printf("%u counted, %u down, one more: %ld\n", *counted, down, hypercall_vcpu_op(VCPUOP_is_up, vcpus, 0));
    return 0;
}
