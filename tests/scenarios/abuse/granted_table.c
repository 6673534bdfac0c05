/* A page table that lies in a mapped grant, and code that does: the processor walks the one and executes the other. */
#include "guest.h"
#include "pvh64.h"

#define WINDOW 0x90000000UL /* 2 MiB of addresses that the granted table maps */

static unsigned char code[PAGE_SIZE] __attribute__((aligned(4096))) = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
static unsigned char data[PAGE_SIZE] __attribute__((aligned(4096)));

int main(void) {
    unsigned long *table = page_alloc();
    struct grant_mapping mapping;
    uint16_t domid = (uint16_t)hypervisor.domid;
    int status = grant_map(domid, grant_access(domid, table, false), 0, &mapping);
    check(status == GNTST_okay, "a page of one's own is granted to oneself and mapped: %s", gntst_name(status));
    table[0] = frame_of(data) << PAGE_SHIFT | PTE_PRESENT | PTE_WRITABLE | PTE_NX;
    table[1] = frame_of(code) << PAGE_SHIFT | PTE_PRESENT;
    unsigned long *entry = page_entry(WINDOW), before = *entry;
    *entry = (unsigned long)mapping.address | PTE_PRESENT | PTE_WRITABLE;
    flush_tlb();
    *(volatile unsigned char *)WINDOW = 7;
    check(data[0] == 7, "a table in the mapping is walked: %d", data[0]);
    int result = ((int (*)(void))(WINDOW + PAGE_SIZE))();
    check(result == 42, "and leads to code: %d", result);
    *entry = before;
    flush_tlb();
    check(grant_unmap(&mapping) == GNTST_okay, "unmapped");
    return checks_failed("granted_table");
}
