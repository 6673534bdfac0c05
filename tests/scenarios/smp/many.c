/* All other processors of a domain are started at once, by one message, in real mode; each counts itself, and resets
 * itself by INIT, so that the next message starts it again. */
#include "guest.h"

#define PAGE_OF_THEIRS 8
#define APIC_ICR 0x830
#define INIT_SELF (1u << 18 | 0x4500)
#define STARTUP_OTHERS (3u << 18 | 0x4600)

extern const char count_me[], count_me_end[];
__asm__(".section .rodata\n"
        "count_me:\n"
        ".code16\n"
        "   movw %cs, %ax\n"
        "   movw %ax, %ds\n"
        "   lock; incw 0x100\n"
        "   movl $0x830, %ecx\n"
        "   movl $0x44500, %eax\n"
        "   xorl %edx, %edx\n"
        "   wrmsr\n"
        "   incw 0x102\n" /* never comes */
        "count_me_end:\n"
        ".code64\n"
        ".text\n");

int main(void) {
    volatile uint16_t *counted = (volatile uint16_t *)(PAGE_OF_THEIRS * PAGE_SIZE + 0x100);
    unsigned int vcpus = (unsigned int)arg_number("vcpus", 2), down = 0;
    counted[0] = counted[1] = 0;
    memcpy((void *)(PAGE_OF_THEIRS * PAGE_SIZE), count_me, (size_t)(count_me_end - count_me));
    for (unsigned int round = 0; round < 2; round++) {
        msr_write(APIC_ICR, STARTUP_OTHERS | PAGE_OF_THEIRS);
        for (unsigned int vcpu = 1; vcpu < vcpus; vcpu++) {
            while (hypercall_vcpu_op(VCPUOP_is_up, vcpu, 0) == 1)
                sched_yield();
            down++;
        }
    }
    printf("%u counted, %u down, %u left, one more: %ld\n", counted[0], down, counted[1],
           hypercall_vcpu_op(VCPUOP_is_up, vcpus, 0));
    msr_write(APIC_ICR, INIT_SELF); /* the last one: as if the machine were switched off */
    printf("still here\n");
    return 0;
}
