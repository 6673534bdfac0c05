/* What the files of the PV kinds know of each other. */
#pragma once
#include <stdint.h>

#include "abi/pv.h"
#include "arch.h"

#define UPCALL_VECTOR 0x40

#define PTE_PRESENT (1ULL << 0)
#define PTE_WRITABLE (1ULL << 1)
#define PTE_USER (1ULL << 2)
#define PTE_NX (1ULL << 63)
#define PTE_TABLE 0x67 /* present, writable, user, accessed, dirty */

/* What the builder told us. */
extern const struct start_info *start_info;

/* Have all memory mapped, pseudo-physical address = virtual address, with the kernel's own rights. */
void memory_init(void);
void traps_init(void);

/* Pages at the end of the first GiB for what Xen shows us: shared_info, then the grant frames. */
void *xen_page(unsigned int index);
void map_frame(void *address, uint64_t frame);

/* The entry that maps an address of the first GiB; it is in a page table, so that a store to it traps. */
const uint64_t *page_entry(uintptr_t address);
/* Change that entry by hypercall; panics where Xen refuses. */
void set_mapping(uintptr_t address, uint64_t entry);
uint64_t machine_address(const void *address);
