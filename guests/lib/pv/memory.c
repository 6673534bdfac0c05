/* The builder maps the kernel and some slack behind it.  Here the rest of memory follows, page n at address n * 4096,
 * up to the last 8 MiB of the first GiB, where Xen's and other domains' pages go.
 *
 * A page table must not be writable by us while it is one: each new table is made read-only, then put into the one L2
 * that all of this hangs under.  Data is never executable: that is good manners, and a store into a page that could
 * hold code is slow under emulation.  Page 0 stays away, so that null pointers fault, and the page below the boot stack.
 */
#include "grants.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"
#include "pv.h"

#define ENTRIES 512
#define TABLE_SIZE (ENTRIES * PAGE_SIZE)
#define XEN_AREA 0x3F800000UL /* one table of the last four; the foreign pages have the last two */
#define FOREIGN_AREA 0x3FC00000UL
#define FIRST_GIB_END 0x40000000UL
#define ADDRESS 0x000FFFFFFFFFF000ULL
#define BATCH 128

extern char text_start[], text_end[], rodata_end[], boot_stack_guard[];

static const unsigned long *p2m;
static const unsigned long *const m2p = (const unsigned long *)M2P_ADDRESS;
static const uint64_t *directory; /* the L2 of the first GiB */
static uintptr_t free_memory;

static struct mmu_update updates[BATCH];
static unsigned int waiting;

frame_t frame_of(const volatile void *address) {
    return p2m[(uintptr_t)address >> PAGE_SHIFT];
}

/* Where we see a machine address of our own. */
static const uint64_t *table_at(uint64_t machine) {
    return (const uint64_t *)(m2p[(machine & ADDRESS) >> PAGE_SHIFT] << PAGE_SHIFT);
}

uint64_t machine_address(const void *address) {
    return (uint64_t)frame_of(address) << PAGE_SHIFT | ((uintptr_t)address & ~PAGE_MASK);
}

static void send_updates(void) {
    long result = hypercall(__HYPERVISOR_mmu_update, (unsigned long)updates, waiting, 0, DOMID_SELF, 0);
    if (result < 0)
        panic("mmu_update: error %ld", -result);
    waiting = 0;
}

static void update(const uint64_t *entry, uint64_t value) {
    updates[waiting++] = (struct mmu_update){machine_address(entry) | MMU_NORMAL_PT_UPDATE, value};
    if (waiting == BATCH)
        send_updates();
}

void set_mapping(uintptr_t address, uint64_t entry) {
#ifdef __i386__
    long result = hypercall(__HYPERVISOR_update_va_mapping, address, (unsigned long)entry,
                            (unsigned long)(entry >> 32), UVMF_INVLPG, 0);
#else
    long result = hypercall3(__HYPERVISOR_update_va_mapping, address, entry, UVMF_INVLPG);
#endif
    if (result < 0)
        panic("update_va_mapping of %p: error %ld", (void *)address, -result);
}

void map_frame(void *address, uint64_t frame) {
    set_mapping((uintptr_t)address, frame << PAGE_SHIFT | PTE_PRESENT | PTE_WRITABLE | PTE_NX);
}

/* Rights of a page that the builder mapped; page tables stay read-only. */
static uint64_t protect(uintptr_t address, uint64_t entry) {
    if (address == 0 || address == (uintptr_t)boot_stack_guard)
        return 0;
    entry &= ADDRESS | PTE_PRESENT | PTE_WRITABLE;
    if (address >= (uintptr_t)text_start && address < (uintptr_t)text_end)
        return entry & ~PTE_WRITABLE;
    if (address >= (uintptr_t)text_end && address < (uintptr_t)rodata_end)
        return (entry & ~PTE_WRITABLE) | PTE_NX;
    return entry | PTE_NX;
}

static uintptr_t protect_mapped(void) {
    uintptr_t address = 0;
    for (; directory[address / TABLE_SIZE] & PTE_PRESENT; address += TABLE_SIZE) {
        const uint64_t *table = table_at(directory[address / TABLE_SIZE]);
        for (unsigned int i = 0; i < ENTRIES; i++)
            if (table[i] & PTE_PRESENT)
                update(&table[i], protect(address + i * PAGE_SIZE, table[i]));
    }
    send_updates();
    return address;
}

/* A table for the 2 MiB at `address`, which maps the memory that lies there. */
static void add_table(uintptr_t address, uintptr_t end) {
    uint64_t *table = (uint64_t *)free_memory;
    free_memory += PAGE_SIZE;
    for (unsigned int i = 0; i < ENTRIES; i++) {
        uintptr_t page = address + i * PAGE_SIZE;
        table[i] = page < end ? (uint64_t)frame_of((void *)page) << PAGE_SHIFT | PTE_PRESENT | PTE_WRITABLE | PTE_NX : 0;
    }
    set_mapping((uintptr_t)table, (uint64_t)frame_of(table) << PAGE_SHIFT | PTE_PRESENT | PTE_NX);
    update(&directory[address / TABLE_SIZE], (uint64_t)frame_of(table) << PAGE_SHIFT | PTE_TABLE);
    send_updates();
}

void memory_init(void) {
    p2m = (const unsigned long *)start_info->mfn_list;
    directory = (const uint64_t *)start_info->pt_base;
    for (unsigned int level = PAGE_TABLE_LEVELS; level > 2; level--)
        directory = table_at(directory[0]);
    free_memory = start_info->pt_base + (start_info->nr_pt_frames + 1) * PAGE_SIZE; /* the builder's stack follows */
    uintptr_t end = start_info->nr_pages < XEN_AREA / PAGE_SIZE ? start_info->nr_pages * PAGE_SIZE : XEN_AREA;
    uintptr_t mapped = protect_mapped();
    for (uintptr_t area = XEN_AREA; area < FIRST_GIB_END; area += TABLE_SIZE)
        add_table(area, 0);
    for (; mapped < end; mapped += TABLE_SIZE)
        add_table(mapped, end);
    pages_init(free_memory, end);
}

const uint64_t *page_entry(uintptr_t address) {
    return &table_at(directory[address / TABLE_SIZE])[address / PAGE_SIZE % ENTRIES];
}

void *xen_page(unsigned int index) {
    return (void *)(XEN_AREA + index * PAGE_SIZE);
}

void *kind_foreign_area(void) {
    return (void *)FOREIGN_AREA;
}

uint64_t foreign_host_addr(const void *slot) {
    return (uintptr_t)slot;
}

bool kind_console(struct xencons_interface **ring, uint32_t *port) {
    unsigned long frame = start_info->console.domU.mfn;
    *ring = (struct xencons_interface *)(m2p[frame] << PAGE_SHIFT);
    *port = start_info->console.domU.evtchn;
    return frame && *port;
}
