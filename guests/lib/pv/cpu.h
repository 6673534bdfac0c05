/* The processor as a PV guest of either width has it: no interrupt flag but a byte that Xen reads, no ports. */
#pragma once
#include <stdint.h>

#include "abi/sched.h"
#include "xen.h"

#define FLAG_TF (1UL << 8)
#define FLAG_IF (1UL << 9)

static inline void irq_disable(void) {
    *(volatile uint8_t *)&vcpu_info->evtchn_upcall_mask = 1;
    __asm__ volatile("" ::: "memory");
}

/* What came while the mask was set raises no upcall by itself; the next return from any hypercall does. */
static inline void irq_enable(void) {
    __asm__ volatile("" ::: "memory");
    *(volatile uint8_t *)&vcpu_info->evtchn_upcall_mask = 0;
    if (*(volatile uint8_t *)&vcpu_info->evtchn_upcall_pending)
        hypercall(__HYPERVISOR_xen_version, 0, 0, 0, 0, 0);
}

static inline unsigned long irq_save(void) {
    unsigned long flags = vcpu_info->evtchn_upcall_mask ? 0 : FLAG_IF;
    irq_disable();
    return flags;
}

static inline void irq_restore(unsigned long flags) {
    if (flags & FLAG_IF)
        irq_enable();
}

/* With upcalls masked: wait for one and leave them on, which blocking does in one step. */
static inline void irq_wait(void) {
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, 0, 0, 0, 0);
}

static inline void cpu_relax(void) {
    __asm__ volatile("pause" ::: "memory");
}

static inline uint64_t read_tsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

/* With the prefix that asks Xen: the instruction alone may show the processor that is really there. */
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
    struct cpuid r;
    __asm__ volatile("ud2; .ascii \"xen\"; cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}

/* There is no debug port; what is written to it goes to Xen's own console. */
static inline void port_write8(uint16_t port, uint8_t value) {
    (void)port;
    hypercall(__HYPERVISOR_console_io, CONSOLEIO_write, 1, (unsigned long)&value, 0, 0);
}

/* Where the last page fault was. */
static inline unsigned long fault_address(void) {
    return vcpu_info->arch.cr2;
}
