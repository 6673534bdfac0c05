/* Interrupts of several classes wait in the APIC, and there is no interrupt table: a triple fault. */
#include "guest.h"

#define APIC_SVR 0x80F
#define APIC_SELF_IPI 0x83F

int main(void) {
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    irq_disable();
    msr_write(APIC_SVR, 0x1FF);
    msr_write(APIC_SELF_IPI, 0x51);
    msr_write(APIC_SELF_IPI, 0x91);
    __asm__ volatile("lidt %0; sti; nop" ::"m"(nothing));
    printf("still there\n");
    return 0;
}
