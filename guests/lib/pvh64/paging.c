/* Memory mapped onto itself: 4 KiB pages for the kernel with its own rights, 2 MiB pages up to 4 GiB.
 *
 * Data is never executable: that is good manners, and a store into a page that could hold code is slow under
 * emulation.  Page 0 stays away, so that null pointers fault, and so does the page below the boot stack.
 */
#include "pages.h"
#include "pvh64.h"

#define GIGABYTES 4
#define ENTRIES 512
#define LARGE_PAGE (2UL << 20)

#define EFER 0xC0000080
#define EFER_NXE (1UL << 11)
#define CR0_WP (1UL << 16)

typedef unsigned long table_t[ENTRIES] __attribute__((aligned(4096)));
table_t pml4, pdpt;
unsigned long page_directories[GIGABYTES * ENTRIES] __attribute__((aligned(4096)));
static table_t kernel_pages;

extern char text_start[], text_end[], rodata_end[], boot_stack_guard[];

static unsigned long kernel_page(uintptr_t address) {
    if (address == 0 || address == (uintptr_t)boot_stack_guard)
        return 0;
    if (address >= (uintptr_t)text_start && address < (uintptr_t)text_end)
        return address | PTE_PRESENT;
    if (address >= (uintptr_t)text_end && address < (uintptr_t)rodata_end)
        return address | PTE_PRESENT | PTE_NX;
    return address | PTE_PRESENT | PTE_WRITABLE | PTE_NX;
}

void flush_tlb(void) {
    unsigned long root;
    __asm__ volatile("movq %%cr3, %0; movq %0, %%cr3" : "=r"(root)::"memory");
}

void paging_init(void) {
    unsigned long cr0;
    msr_write(EFER, msr_read(EFER) | EFER_NXE);
    for (unsigned int i = 0; i < ENTRIES; i++)
        kernel_pages[i] = kernel_page(i * PAGE_SIZE);
    for (unsigned long i = 1; i < GIGABYTES * ENTRIES; i++)
        page_directories[i] = i * LARGE_PAGE | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE | PTE_NX;
    for (unsigned int i = 0; i < GIGABYTES; i++)
        pdpt[i] = (uintptr_t)&page_directories[i * ENTRIES] | PTE_PRESENT | PTE_WRITABLE;
    page_directories[0] = (uintptr_t)kernel_pages | PTE_PRESENT | PTE_WRITABLE;
    __asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("movq %0, %%cr0" ::"r"(cr0 | CR0_WP) : "memory");
    flush_tlb();
}

unsigned long *page_entry(uintptr_t address) {
    if (address < LARGE_PAGE)
        return &kernel_pages[address / PAGE_SIZE];
    return &page_directories[address / LARGE_PAGE];
}

void page_allow_user(uintptr_t address) {
    pml4[0] |= PTE_USER;
    pdpt[address / LARGE_PAGE / ENTRIES] |= PTE_USER;
    page_directories[address / LARGE_PAGE] |= PTE_USER;
    *page_entry(address) |= PTE_USER;
    flush_tlb();
}
