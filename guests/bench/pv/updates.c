/* Page-table updates.  The window is where foreign pages would go: two tables, 1024 pages of address space.
 *
 * Update n changes page n % WINDOW, to the frame after the one that it showed a round ago.
 */
#include "bench_pv.h"
#include "kind.h"

#define WINDOW FOREIGN_SLOTS
#define FRAMES 64

static uintptr_t window;
static char *frames[FRAMES];

static uint64_t value_of(unsigned long n) {
    frame_t frame = frame_of(frames[(n % WINDOW + n / WINDOW) % FRAMES]);
    return (uint64_t)frame << PAGE_SHIFT | PTE_PRESENT | PTE_WRITABLE | PTE_NX;
}

static uintptr_t address_of(unsigned long n) {
    return window + n % WINDOW * PAGE_SIZE;
}

void updates_prepare(void) {
    window = (uintptr_t)kind_foreign_area();
    for (unsigned int i = 0; i < FRAMES; i++) {
        frames[i] = page_alloc();
        frames[i][0] = (char)i;
    }
    for (unsigned long n = 0; n < WINDOW; n++)
        set_mapping(address_of(n), value_of(n));
    hypercall2(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
}

/* Each page shows what it showed last; in its first update it got the frame of round 1. */
void updates_verify(void) {
    for (unsigned long n = count > WINDOW ? count - WINDOW : 0; n < count; n++) {
        char seen = *(volatile char *)address_of(n), expected = (char)((n % WINDOW + n / WINDOW + 1) % FRAMES);
        if (seen != expected)
            panic("update %lu: the page at %p shows frame %d, not %d", n, (void *)address_of(n), seen, expected);
    }
}

/* After each update the page is read at once: what the processor remembers of the old frame has to be gone. */
void update_and_flush_verify(void) {
    updates_verify();
    for (unsigned long n = 0; n < 2 * WINDOW; n++) {
        volatile char *page = (char *)address_of(n);
        char next = (char)((*page + 1) % FRAMES);
        map_frame((void *)page, frame_of(frames[(unsigned int)next]));
        if (*page != next)
            panic("the page at %p shows frame %d still, not %d", (void *)page, *page, next);
    }
}

static void expect_success(const char *hypercall_name, long result) {
    if (result < 0)
        panic("%s: error %ld", hypercall_name, -result);
}

void update_by_trap(void) {
    for (unsigned long n = WINDOW; n < count + WINDOW; n++)
        *(volatile uint64_t *)page_entry(address_of(n)) = value_of(n);
}

static void by_hypercall(unsigned long flags) {
    for (unsigned long n = WINDOW; n < count + WINDOW; n++) {
        uint64_t value = value_of(n);
#ifdef __i386__
        long result = hypercall(__HYPERVISOR_update_va_mapping, address_of(n), (unsigned long)value,
                                (unsigned long)(value >> 32), flags, 0);
#else
        long result = hypercall3(__HYPERVISOR_update_va_mapping, address_of(n), value, flags);
#endif
        expect_success("update_va_mapping", result);
    }
}

void update_by_hypercall(void) {
    by_hypercall(UVMF_NONE);
}

void update_and_flush(void) {
    by_hypercall(UVMF_INVLPG);
}

void update_by_batch(void) {
    static struct mmu_update updates[MOST_BATCH];
    for (unsigned long n = WINDOW; n < count + WINDOW;) {
        unsigned int filled = 0;
        for (; filled < batch && n < count + WINDOW; filled++, n++)
            updates[filled] = (struct mmu_update){
                machine_address(page_entry(address_of(n))) | MMU_NORMAL_PT_UPDATE, value_of(n)};
        expect_success("mmu_update", hypercall(__HYPERVISOR_mmu_update, (unsigned long)updates, filled, 0, DOMID_SELF, 0));
    }
}

void update_by_multicall(void) {
    static struct multicall_entry calls[MOST_BATCH];
    for (unsigned long n = WINDOW; n < count + WINDOW;) {
        unsigned int filled = 0;
        for (; filled < batch && n < count + WINDOW; filled++, n++) {
            uint64_t value = value_of(n);
            calls[filled] = (struct multicall_entry){
                .op = __HYPERVISOR_update_va_mapping,
#ifdef __i386__
                .args = {address_of(n), (unsigned long)value, (unsigned long)(value >> 32), UVMF_NONE},
#else
                .args = {address_of(n), value, UVMF_NONE},
#endif
            };
        }
        expect_success("multicall", hypercall_multicall(calls, filled));
        for (unsigned int i = 0; i < filled; i++)
            expect_success("update_va_mapping in a multicall", (long)calls[i].result);
    }
}
