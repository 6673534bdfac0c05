/* Context switches: the kernel's and the users' page tables, the FPU to be loaded at its next use, and the FS base.
 *
 * The two tasks have top-level tables of their own, over the same memory.  (The stack for traps from user mode would be
 * another hypercall in any way, so it is left out.)
 */
#ifndef __i386__
#include "bench_pv.h"

#define TASKS 2
#define GUEST_SLOTS 256 /* the first half of a top-level table; behind it come Xen's own entries */
#define MSR_FS_BASE 0xC0000100
#define CR0_TS (1UL << 3)

static frame_t tables[TASKS];
static const unsigned long fs_bases[TASKS] = {0x10000, 0x20000};
static unsigned long cr0;

static void expect_success(const char *what, long result) {
    if (result < 0)
        panic("%s: error %ld", what, -result);
}

static long on_table(unsigned int command, frame_t table) {
    struct mmuext_op op = {.cmd = command, .arg1.mfn = table};
    return hypercall(__HYPERVISOR_mmuext_op, (unsigned long)&op, 1, 0, DOMID_SELF, 0);
}

/* Pinned, as a kernel does it: else Xen would check a table again each time that it comes into use. */
void switch_prepare(void) {
    const uint64_t *current = (const uint64_t *)start_info->pt_base;
    for (unsigned int task = 0; task < TASKS; task++) {
        uint64_t *table = page_alloc();
        for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++)
            table[slot] = current[slot];
        tables[task] = frame_of(table);
        set_mapping((uintptr_t)table, (uint64_t)tables[task] << PAGE_SHIFT | PTE_PRESENT | PTE_NX);
        expect_success("PIN_L4_TABLE", on_table(MMUEXT_PIN_L4_TABLE, tables[task]));
    }
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
}

void switch_verify(void) {
    unsigned int task = (count - 1) % TASKS;
    unsigned long table;
    uint32_t low, high;
    __asm__ volatile("mov %%cr3, %0" : "=r"(table));
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_FS_BASE));
    if (table >> PAGE_SHIFT != tables[task] || ((uint64_t)high << 32 | low) != fs_bases[task])
        panic("the task has table 0x%lx and FS base 0x%x", table, low);
}

void switch_by_trap(void) {
    for (unsigned long n = 0; n < count; n++) {
        unsigned int task = n % TASKS;
        __asm__ volatile("mov %0, %%cr3" ::"r"(tables[task] << PAGE_SHIFT) : "memory");
        expect_success("NEW_USER_BASEPTR", on_table(MMUEXT_NEW_USER_BASEPTR, tables[task]));
        __asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | CR0_TS));
        __asm__ volatile("wrmsr" ::"c"(MSR_FS_BASE), "a"((uint32_t)fs_bases[task]), "d"(fs_bases[task] >> 32));
    }
}

void switch_by_hypercall(void) {
    for (unsigned long n = 0; n < count; n++) {
        unsigned int task = n % TASKS;
        expect_success("NEW_BASEPTR", on_table(MMUEXT_NEW_BASEPTR, tables[task]));
        expect_success("NEW_USER_BASEPTR", on_table(MMUEXT_NEW_USER_BASEPTR, tables[task]));
        expect_success("fpu_taskswitch", hypercall1(__HYPERVISOR_fpu_taskswitch, 1));
        expect_success("set_segment_base", hypercall2(__HYPERVISOR_set_segment_base, SEGBASE_FS, fs_bases[task]));
    }
}

static struct mmuext_op both[TASKS][2];

static void prepare_both(void) {
    for (unsigned int task = 0; task < TASKS; task++) {
        both[task][0] = (struct mmuext_op){.cmd = MMUEXT_NEW_BASEPTR, .arg1.mfn = tables[task]};
        both[task][1] = (struct mmuext_op){.cmd = MMUEXT_NEW_USER_BASEPTR, .arg1.mfn = tables[task]};
    }
}

void switch_by_batch(void) {
    prepare_both();
    for (unsigned long n = 0; n < count; n++) {
        unsigned int task = n % TASKS;
        expect_success("mmuext_op", hypercall(__HYPERVISOR_mmuext_op, (unsigned long)both[task], 2, 0, DOMID_SELF, 0));
        expect_success("fpu_taskswitch", hypercall1(__HYPERVISOR_fpu_taskswitch, 1));
        expect_success("set_segment_base", hypercall2(__HYPERVISOR_set_segment_base, SEGBASE_FS, fs_bases[task]));
    }
}

void switch_by_multicall(void) {
    prepare_both();
    for (unsigned long n = 0; n < count; n++) {
        unsigned int task = n % TASKS;
        struct multicall_entry calls[] = {
            {.op = __HYPERVISOR_mmuext_op, .args = {(unsigned long)both[task], 2, 0, DOMID_SELF}},
            {.op = __HYPERVISOR_fpu_taskswitch, .args = {1}},
            {.op = __HYPERVISOR_set_segment_base, .args = {SEGBASE_FS, fs_bases[task]}},
        };
        expect_success("multicall", hypercall_multicall(calls, sizeof calls / sizeof *calls));
        for (unsigned int i = 0; i < sizeof calls / sizeof *calls; i++)
            expect_success("a call of the multicall", (long)calls[i].result);
    }
}
#endif
