/* What hostile PV guests share: hypercalls with the arguments of either width, and what their numbers are. */
#pragma once
#include "guest.h"
#include "kind.h"
#include "pv.h"

#define PIN_L1 0
#define PIN_L2 1
#define PIN_L3 2
#define PIN_L4 3
#define UNPIN 4
#define NEW_BASEPTR 5
#define TLB_FLUSH_MULTI 8
#define INVLPG_MULTI 9
#define SET_LDT 13
#define CLEAR_PAGE 16
#define COPY_PAGE 17
#define PREEMPTED 0x80000000u
#define XENMEM_exchange 11
#define WILD 0x70000000UL /* nothing is mapped there */
#ifdef __i386__
#define XEN_SPACE 0xF5800000UL
#define TOP_PIN PIN_L3
#else
#define XEN_SPACE 0xFFFF800000000000UL
#define TOP_PIN PIN_L4
#endif

/* Writes the entry for an address by update_va_mapping. */
static inline long map_va(uintptr_t address, uint64_t entry) {
#ifdef __i386__
    return hypercall(__HYPERVISOR_update_va_mapping, address, (unsigned long)entry, (unsigned long)(entry >> 32),
                     UVMF_INVLPG, 0);
#else
    return hypercall3(__HYPERVISOR_update_va_mapping, address, entry, UVMF_INVLPG);
#endif
}

/* Writes an entry by its machine address. */
static inline long write_entry(uint64_t machine, uint64_t value) {
    struct mmu_update request = {machine, value};
    return hypercall(__HYPERVISOR_mmu_update, (unsigned long)&request, 1, 0, DOMID_SELF, 0);
}

static inline long extended(unsigned int command, unsigned long first, unsigned long second) {
    struct mmuext_op op = {.cmd = command, .arg1.mfn = first, .arg2.src_mfn = second};
    return hypercall(__HYPERVISOR_mmuext_op, (unsigned long)&op, 1, 0, DOMID_SELF, 0);
}

static inline uint64_t frame_entry(uint64_t frame, uint64_t flags) {
    return frame << PAGE_SHIFT | flags;
}

/* An address that the rest of the program does not use. */
static inline uintptr_t window(void) {
    return (uintptr_t)kind_foreign_area();
}

/* The frame of the table that maps `address` at its lowest level. */
static inline frame_t table_of(uintptr_t address) {
    return frame_of(page_entry(address));
}
