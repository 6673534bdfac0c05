/* What a PV kernel might try against its own page tables, its descriptors and other people's memory: Xen says no, and
 * nothing has changed.
 *
 * Targets: pv64 pv32
 */
#include "attack.h"

#define PW (PTE_PRESENT | PTE_WRITABLE)

static unsigned int succeeded;

static void refused(const char *what, long result) {
    check(result < 0, "%s: %ld", what, result);
}

/* The one thing that must not be: a live page table that the guest can write to. */
static void writable_tables(void) {
    uintptr_t place = window();
    frame_t table = table_of(place);
    refused("a writable mapping of a live L1 by its address", map_va(place, frame_entry(table, PW | PTE_NX)));
    refused("the same by its machine address", write_entry(machine_address(page_entry(place)), frame_entry(table, PW)));
    long result = map_va(place, frame_entry(table, PTE_PRESENT | PTE_NX));
    check(result == 0, "a live L1 to read: %ld", result);
    int vector = probe_write((void *)place, PW);
    check(!(*page_entry(place) & PTE_WRITABLE), "a store that would make it so: exception %d", vector);
    refused("the right to write to it later", write_entry(machine_address(page_entry(place)), frame_entry(table, PW)));
    map_va(place, 0);
    uint64_t *page = page_alloc(); /* which we can write to */
    refused("a page that is mapped writable as an L1", extended(PIN_L1, frame_of(page), 0));
    refused("as an L2", extended(PIN_L2, frame_of(page), 0));
    refused("as an L3", extended(PIN_L3, frame_of(page), 0));
    refused("as the top-level table", extended(NEW_BASEPTR, frame_of(page), 0));
    page_free(page);
}

/* Tables that lead to themselves, and to others of their level. */
static void loops(void) {
    uint64_t *page = page_alloc();
    frame_t frame = frame_of(page);
    for (unsigned int level = 1; level <= PAGE_TABLE_LEVELS; level++) {
        for (unsigned int i = 0; i < 512; i++)
            page[i] = frame_entry(frame, PW | PTE_USER);
#ifdef __i386__
        if (level == 3)
            for (unsigned int i = 0; i < 4; i++)
                page[i] = frame_entry(frame, PTE_PRESENT);
#endif
        map_va((uintptr_t)page, frame_entry(frame, PTE_PRESENT | PTE_NX));
        char what[] = "a table of level 0 full of itself, writable";
        what[17] += (char)level;
        refused(what, extended(PIN_L1 + level - 1, frame, 0));
        long back = map_va((uintptr_t)page, frame_entry(frame, PW | PTE_NX));
        check(back == 0, "it is ours again: %ld", back);
    }
    /* A read-only entry for itself is what Xen allows above L1; it must come and go without a trace. */
    memset(page, 0, PAGE_SIZE);
    page[7] = frame_entry(frame, PTE_PRESENT | PTE_USER);
    map_va((uintptr_t)page, frame_entry(frame, PTE_PRESENT | PTE_NX));
    long pinned = extended(PIN_L2, frame, 0), twice = extended(PIN_L2, frame, 0), other = extended(PIN_L1, frame, 0);
    refused("what is pinned, pinned again", twice);
    check(other < 0, "or as something else: %ld", other);
    if (pinned == 0) {
        refused("memory that is a table, given back to be written to", map_va((uintptr_t)page, frame_entry(frame, PW)));
        check(extended(UNPIN, frame, 0) == 0, "unpinned");
    }
    refused("unpinned twice", extended(UNPIN, frame, 0));
    check(map_va((uintptr_t)page, frame_entry(frame, PW | PTE_NX)) == 0, "and ours again");
    page_free(page);
}

/* Every frame there is, or might be. */
static void other_peoples_memory(void) {
    uintptr_t place = window();
    unsigned int mapped = 0, strange = 0;
    long limit = hypercall_memory_op(XENMEM_maximum_ram_page, 0);
    for (unsigned long frame = 0; frame < (unsigned long)limit; frame += 7) {
        unsigned long name = ((const unsigned long *)M2P_ADDRESS)[frame];
        if (name < start_info->nr_pages && frame_of((void *)(name << PAGE_SHIFT)) == frame)
            continue; /* our own */
        long result = map_va(place, frame_entry(frame, PW | PTE_NX));
        mapped += result == 0;
        strange += result != 0 && result != -XEN_EBUSY && result != -XEN_EPERM && result != -XEN_EINVAL;
    }
    /* Two are Xen's to show: shared_info and the first frame of the grant table. */
    check(mapped <= 2 && strange == 0, "other people's frames: %u mapped, %u strange errors", mapped, strange);
    static const uint64_t beyond[] = {0xFFFFFF, 0xFFFFFFFFF, 0xFFFFFFFFFFULL};
    for (unsigned int i = 0; i < 3; i++)
        refused("a frame that cannot be", map_va(place, frame_entry(beyond[i], PW)));
    map_va(place, 0);
    refused("Xen's part of the address space", map_va(XEN_SPACE, frame_entry(frame_of(&succeeded), PW)));
    refused("a caching attribute", map_va(place, frame_entry(frame_of(&succeeded), PW | 0x18)));
    refused("an entry in no table", write_entry(~0xFFFULL, 0));
    refused("a command that there is not", write_entry(machine_address(page_entry(place)) | 5, 0));
}

static void counts(void) {
    struct mmuext_op op = {.cmd = 99};
    static const unsigned int many[] = {0x7FFFFFFF, 0xFFFFFFFF, PREEMPTED, 0x10000000, 1000};
    for (unsigned int i = 0; i < sizeof many / sizeof *many; i++) {
        long there = hypercall(__HYPERVISOR_mmuext_op, (unsigned long)&op, many[i], 0, DOMID_SELF, 0);
        long wild = hypercall(__HYPERVISOR_mmuext_op, WILD, many[i], WILD, DOMID_SELF, 0);
        long update = hypercall(__HYPERVISOR_mmu_update, WILD, many[i], WILD, DOMID_SELF, 0);
        check(there <= 0 && wild <= 0 && update <= 0, "counts of 0x%x: %ld, %ld, %ld", many[i], there, wild, update);
    }
    static struct mmu_update nothing[512];
    for (unsigned int i = 0; i < 512; i++)
        nothing[i] = (struct mmu_update){machine_address(page_entry(window())), 0};
    uint32_t done = 0;
    long result = hypercall(__HYPERVISOR_mmu_update, (unsigned long)nothing, 513, (unsigned long)&done, DOMID_SELF, 0);
    check(result <= 0 && done >= 512, "one request beyond the list: %ld, %u done", result, done);
    static struct multicall_entry calls[2];
    calls[0] = (struct multicall_entry){.op = __HYPERVISOR_multicall, .args = {(unsigned long)calls, 2}};
    calls[1] = (struct multicall_entry){.op = __HYPERVISOR_mmuext_op, .args = {(unsigned long)&op, 1, 0, DOMID_SELF}};
    result = hypercall_multicall(calls, 2);
    check(result == 0 && (long)calls[0].result == -XEN_EINVAL && (long)calls[1].result == -XEN_ENOSYS,
          "a multicall of itself: %ld, %ld, %ld", result, (long)calls[0].result, (long)calls[1].result);
    refused("a million calls", hypercall_multicall((void *)WILD, 1000000));
    refused("a mask of vCPUs that is not there", extended(TLB_FLUSH_MULTI, 0, WILD));
    refused("another", extended(INVLPG_MULTI, 0, XEN_SPACE));
}

static void descriptors(void) {
    unsigned long frame = table_of(window());
    refused("a GDT in a page table", hypercall2(__HYPERVISOR_set_gdt, &frame, 512));
    frame = 1;
    refused("a GDT in nobody's frame", hypercall2(__HYPERVISOR_set_gdt, &frame, 512));
    refused("a GDT of too many", hypercall2(__HYPERVISOR_set_gdt, &frame, 512 * 15));
    refused("a GDT of nowhere", hypercall2(__HYPERVISOR_set_gdt, WILD, 512));
    static const struct {
        uint64_t descriptor;
        const char *what;
    } bad[] = {
        {0x0000890000000067, "a task state segment"},
        {0x0000E90000000067, "the same for everyone"},
        {0x00008E0000080000, "an interrupt gate"},
        {0x0000820000000000, "an LDT"},
#ifdef __i386__
        {0x00AF9A000000FFFF, "64-bit code"},
#endif
    };
    uint64_t *page = page_alloc();
    for (unsigned int i = 0; i < sizeof bad / sizeof *bad; i++) {
#ifdef __i386__
        long result = hypercall(__HYPERVISOR_update_descriptor, machine_address(page) & 0xFFFFFFFF,
                                machine_address(page) >> 32, bad[i].descriptor & 0xFFFFFFFF, bad[i].descriptor >> 32, 0);
#else
        long result = hypercall2(__HYPERVISOR_update_descriptor, machine_address(page), bad[i].descriptor);
#endif
        refused(bad[i].what, result);
        page[1] = bad[i].descriptor;
        map_va((uintptr_t)page, frame_entry(frame_of(page), PTE_PRESENT | PTE_NX));
        frame = frame_of(page);
        refused("a GDT that has it", hypercall2(__HYPERVISOR_set_gdt, &frame, 512));
        map_va((uintptr_t)page, frame_entry(frame_of(page), PW | PTE_NX));
    }
    page[1] = 0x00CF9A000000FFFF; /* code of ring 0: Xen gives it our ring */
    refused("a GDT that we can write to", hypercall2(__HYPERVISOR_set_gdt, &frame, 512));
    map_va((uintptr_t)page, frame_entry(frame_of(page), PTE_PRESENT | PTE_NX));
    long result = hypercall2(__HYPERVISOR_set_gdt, &frame, 512);
    check(result == 0 && (page[1] >> 45 & 3) == (KERNEL_CS & 3), "a GDT with code of ring 0: %ld, made %lx", result,
          (unsigned long)(page[1] >> 32));
    refused("the right to write to a live GDT", map_va((uintptr_t)page, frame_entry(frame, PW)));
    CATCH("movl %0, %%es", : "r"(0xFFF8));
    check(last_fault.vector == TRAP_GP, "a selector beyond every table: exception %d", last_fault.vector);
    CATCH("movl %0, %%es", : "r"(0x20));
    check(last_fault.vector == TRAP_GP || last_fault.vector == TRAP_NP, "an empty descriptor: exception %d",
          last_fault.vector);
    check(hypercall2(__HYPERVISOR_set_gdt, 0, 0) == 0, "no GDT");
    refused("an LDT that begins inside a page", extended(SET_LDT, 0x1004, 8));
    refused("an LDT of too many", extended(SET_LDT, 0x1000, 8193));
#ifndef __i386__
    refused("an LDT in Xen's part", extended(SET_LDT, XEN_SPACE, 8));
    refused("a debug register of Xen's", hypercall2(__HYPERVISOR_set_debugreg, 0, XEN_SPACE));
#endif
    check(extended(SET_LDT, WILD, 8192) == 0, "an LDT of nowhere is not looked at before it is used");
    CATCH("movl %0, %%es", : "r"(0xC));
    check(last_fault.vector == TRAP_PF || last_fault.vector == TRAP_GP, "its use: exception %d", last_fault.vector);
    check(extended(SET_LDT, (uintptr_t)page_entry(window()) & PAGE_MASK, 8) == 0, "an LDT in a page table");
    CATCH("movl %0, %%es", : "r"(0xC));
    check(last_fault.vector == TRAP_PF || last_fault.vector == TRAP_GP, "its use: exception %d", last_fault.vector);
    check(extended(SET_LDT, 0, 0) == 0, "no LDT");
    map_va((uintptr_t)page, frame_entry(frame_of(page), PW | PTE_NX));
    page_free(page);
}

static void wild_pointers(void) {
    refused("a trap table of nowhere", hypercall1(__HYPERVISOR_set_trap_table, WILD));
    refused("a trap table of Xen's", hypercall1(__HYPERVISOR_set_trap_table, XEN_SPACE + 8));
    refused("a callback of nowhere", hypercall2(__HYPERVISOR_callback_op, CALLBACKOP_register, WILD));
    struct callback_register op = {.type = 99};
    refused("a callback of no type", hypercall2(__HYPERVISOR_callback_op, CALLBACKOP_register, &op));
#ifndef __i386__
    op = (struct callback_register){.type = CALLBACKTYPE_event, .address = 0x8000000000000000};
    refused("a callback that is not canonical", hypercall2(__HYPERVISOR_callback_op, CALLBACKOP_register, &op));
    struct trap_info table[2] = {{.vector = 1, .cs = KERNEL_CS, .address = 0x800000000000}};
    refused("a trap that is not canonical", hypercall1(__HYPERVISOR_set_trap_table, table));
    refused("a base that is not canonical", hypercall2(__HYPERVISOR_set_segment_base, SEGBASE_FS, 0x800000000000));
#endif
    refused("a debug register that there is not", hypercall2(__HYPERVISOR_get_debugreg, 8, 0));
    refused("a vCPU that there is not", hypercall_vcpu_op(0, 77, (void *)WILD));
    static uint8_t context[8192];
    memset(context, 0xFF, sizeof context);
    refused("a context of ones", hypercall_vcpu_op(0, 1, context));
}

/* Frames that are in use, given back. */
static void balloon(void) {
    unsigned long frame = table_of(window());
    struct xen_memory_reservation op = {.extent_start = &frame, .nr_extents = 1, .domid = DOMID_SELF};
    printf("a live L1 given back: %ld\n", hypercall_memory_op(XENMEM_decrease_reservation, &op));
    refused("and then written to", map_va(window(), frame_entry(frame, PW)));
    frame = 1;
    check(hypercall_memory_op(XENMEM_decrease_reservation, &op) <= 0, "somebody else's frame given back");
    struct xen_memory_reservation many = {.extent_start = (void *)WILD, .nr_extents = ~0UL, .domid = DOMID_SELF};
    check(hypercall_memory_op(XENMEM_decrease_reservation, &many) <= 0, "all there are");
    many.extent_order = 60;
    check(hypercall_memory_op(XENMEM_populate_physmap, &many) <= 0, "endless extents");
    struct {
        struct xen_memory_reservation in, out;
        unsigned long done;
    } exchange = {op, many, 0};
    refused("an exchange of unequal parts", hypercall_memory_op(XENMEM_exchange, &exchange));
    frame = table_of(window());
    exchange.out = op;
    refused("an exchange of a live table", hypercall_memory_op(XENMEM_exchange, &exchange));
    refused("a page of tables cleared", extended(CLEAR_PAGE, table_of(window()), 0));
    refused("or written over", extended(COPY_PAGE, table_of(window()), frame_of(&succeeded)));
}

int main(void) {
    writable_tables();
    loops();
    other_peoples_memory();
    counts();
    descriptors();
    wild_pointers();
    balloon();
    return checks_failed("attack");
}
