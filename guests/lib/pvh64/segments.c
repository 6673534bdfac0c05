/* The GDT, in the order that SYSRET wants, and the TSS with its stacks. */
#include <stddef.h>

#include "pvh64.h"

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_bitmap; /* beyond the limit: ring 3 has no ports */
} __attribute__((packed));

#define CODE64(dpl) (0x00209A0000000000 | (uint64_t)(dpl) << 45)
#define CODE32(dpl) (0x00CF9A000000FFFF | (uint64_t)(dpl) << 45)
#define DATA(dpl) (0x00CF92000000FFFF | (uint64_t)(dpl) << 45)
#define TSS_AVAILABLE 0x0000890000000000

static struct tss tss = {.io_bitmap = sizeof(struct tss)};
static char interrupt_stacks[2][IST_SIZE] __attribute__((aligned(16)));

static uint64_t gdt[] = {0, CODE64(0), DATA(0), CODE32(3), DATA(3), CODE64(3), 0, 0};

/* Read by the entry code before there is paging. */
extern const struct gdt_pointer gdt_pointer;
const struct gdt_pointer {
    uint16_t limit;
    uint64_t *base;
} __attribute__((packed)) gdt_pointer = {sizeof gdt - 1, gdt};

void set_ring0_stack(uintptr_t top) {
    tss.rsp[0] = top;
}

uintptr_t ist_top(unsigned int ist) {
    return (uintptr_t)interrupt_stacks[ist - 1] + IST_SIZE;
}

void segments_init(void) {
    uint64_t base = (uintptr_t)&tss;
    gdt[TSS_SELECTOR / 8] = TSS_AVAILABLE | (sizeof tss - 1) | (base & 0xFFFFFF) << 16 | (base >> 24 & 0xFF) << 56;
    gdt[TSS_SELECTOR / 8 + 1] = base >> 32;
    tss.ist[IST_DOUBLE_FAULT - 1] = ist_top(IST_DOUBLE_FAULT);
    tss.ist[IST_NMI - 1] = ist_top(IST_NMI);
    __asm__ volatile("ltr %w0" ::"r"(TSS_SELECTOR));
}
