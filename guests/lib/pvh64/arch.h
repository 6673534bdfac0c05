/* The processor as a 64-bit PVH guest has it: hypercalls through the page, interrupts by IF. */
#pragma once
#include <stdint.h>

/* Xen writes 128 entries of 32 bytes into it. */
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
    __asm__ volatile("vmmcall"
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
    unsigned long ip, cs, flags, sp, ss;
};

#define FLAG_TF (1UL << 8)
#define FLAG_IF (1UL << 9)

static inline void irq_disable(void) {
    __asm__ volatile("cli" ::: "memory");
}

static inline void irq_enable(void) {
    __asm__ volatile("sti" ::: "memory");
}

static inline unsigned long irq_save(void) {
    unsigned long flags;
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags)::"memory");
    return flags;
}

static inline void irq_restore(unsigned long flags) {
    if (flags & FLAG_IF)
        irq_enable();
}

/* With interrupts off: wait for one and leave them on.  The shadow of STI lets nothing in before HLT. */
static inline void irq_wait(void) {
    __asm__ volatile("sti; hlt" ::: "memory");
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

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

static inline void port_write8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t port_read8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t msr_read(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void msr_write(uint32_t msr, uint64_t value) {
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* Where the last page fault was. */
static inline unsigned long fault_address(void) {
    unsigned long address;
    __asm__ volatile("movq %%cr2, %0" : "=r"(address));
    return address;
}

/* CATCH(instructions, outputs : inputs): an exception in them is recorded in last_fault and goes on behind them. */
#define CATCH(instructions, ...)                                                                      \
    do {                                                                                              \
        last_fault.vector = NO_TRAP;                                                                  \
        __asm__ volatile("movq $77f, catch_ip\n\t" instructions "\n77:\tmovq $0, catch_ip"            \
                         : __VA_ARGS__                                                                \
                         : "memory");                                                                 \
    } while (0)
