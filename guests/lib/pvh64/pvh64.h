/* What the files of this guest kind know of each other. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "abi/start_info.h"
#include "arch.h"

#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_DS (0x20 | 3)
#define USER_CS (0x28 | 3)
#define TSS_SELECTOR 0x30

#define UPCALL_VECTOR 0x40

/* Numbers of the TSS's interrupt stacks.  A double fault has no stack that it could trust. */
#define IST_DOUBLE_FAULT 1
#define IST_NMI 2
#define IST_SIZE 4096

#define PTE_PRESENT (1UL << 0)
#define PTE_WRITABLE (1UL << 1)
#define PTE_USER (1UL << 2)
#define PTE_LARGE (1UL << 7)
#define PTE_NX (1UL << 63)

void paging_init(void);
void segments_init(void);
void idt_init(void);
void xen_init(void);
void memory_map_init(const struct hvm_start_info *info);

/* The page-table entry, of 4 KiB or 2 MiB, that decides on an address below 4 GiB.  After changes: flush_tlb(). */
unsigned long *page_entry(uintptr_t address);
void flush_tlb(void);
/* Let ring 3 reach the page at `address`. */
void page_allow_user(uintptr_t address);

/* A gate of the IDT: who may use it by INT n, whether it is there, and its stack (0: the current one). */
void idt_set(unsigned int vector, unsigned int dpl, bool present, unsigned int ist);

/* The stack that a change to ring 0 begins on, and where an interrupt stack ends. */
void set_ring0_stack(uintptr_t top);
uintptr_t ist_top(unsigned int ist);

/* The first address behind all memory: 2 MiB for the pages that Xen puts there, then the foreign slots. */
extern uintptr_t hole_start;
