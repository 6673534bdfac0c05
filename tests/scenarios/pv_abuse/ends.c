/* Ways for a PV kernel to bring its own end about.
 *
 * Command line: how=stack|callback|failsafe|iret|user|ring|table|unmap|nothing|handlers|balloon|nmi|descend|endless
 *
 * Targets: pv64 pv32
 */
#include "attack.h"

#define SEND_NMI 11
#define PW (PTE_PRESENT | PTE_WRITABLE)

static void set_trap(uint8_t vector, unsigned long address) {
    struct trap_info table[2] = {{.vector = vector, .flags = 0, .cs = KERNEL_CS, .address = address}};
    hypercall1(__HYPERVISOR_set_trap_table, table);
}

static void set_callback(uint16_t type, unsigned long address) {
    struct callback_register op = {.type = type,
#ifdef __i386__
                                   .address = {KERNEL_CS, address},
#else
                                   .address = address,
#endif
    };
    hypercall2(__HYPERVISOR_callback_op, CALLBACKOP_register, &op);
}

static void never(uint32_t port, void *context) {
    (void)context;
    printf("an event at port %u was handled\n", port);
}

/* The iret hypercall with a frame of our choice. */
_Noreturn static void iret(unsigned long ip, unsigned long cs, unsigned long flags, unsigned long sp, unsigned long ss) {
#ifdef __i386__
    __asm__ volatile("pushl %4; pushl %3; pushl %2; pushl %1; pushl %0; pushl $0; movl $23, %%eax; int $0x82"
                     ::"r"(ip), "r"(cs), "r"(flags), "r"(sp), "r"(ss));
#else
    __asm__ volatile("pushq %4; pushq %3; pushq %2; pushq %1; pushq %0; pushq $0; pushq $0; pushq $0; pushq $0\n\t"
                     "movl $23, %%eax; syscall" ::"r"(ip), "r"(cs), "r"(flags), "r"(sp), "r"(ss));
#endif
    __builtin_unreachable();
}

static void without_stack(void) {
#ifdef __i386__
    __asm__ volatile("xorl %esp, %esp; ud2");
#else
    __asm__ volatile("xorl %esp, %esp; ud2");
#endif
}

/* An empty top-level table: after the switch there is no code, and no stack to say so on. */
static void empty_table(void) {
    uint64_t *page = page_alloc();
#ifdef __i386__
    uint64_t *last = page_alloc();
    map_va((uintptr_t)last, frame_entry(frame_of(last), PTE_PRESENT | PTE_NX));
    page[3] = frame_entry(frame_of(last), PTE_PRESENT);
#endif
    map_va((uintptr_t)page, frame_entry(frame_of(page), PTE_PRESENT | PTE_NX));
    printf("the new table: %ld\n", extended(NEW_BASEPTR, frame_of(page), 0));
}

/* No page of ours stays. */
static void unmap_everything(void) {
    for (uintptr_t address = 0; address < start_info->nr_pages * PAGE_SIZE; address += PAGE_SIZE)
        map_va(address, 0);
}

static void give_everything_back(void) {
    for (unsigned long page = 0; page < start_info->nr_pages; page++) {
        unsigned long frame = frame_of((void *)(page << PAGE_SHIFT));
        struct xen_memory_reservation op = {.extent_start = &frame, .nr_extents = 1, .domid = DOMID_SELF};
        hypercall_memory_op(XENMEM_decrease_reservation, &op);
        map_va(page << PAGE_SHIFT, 0);
    }
}

/* A list of calls, each of which is a list of as many updates as a list can have. */
static void ask_for_endless_work(void) {
    static struct multicall_entry calls[4096];
    const unsigned int pages = 1024, count = pages * PAGE_SIZE / sizeof(struct mmu_update);
    struct mmu_update *updates = pages_alloc(pages);
    uint64_t entry = machine_address(page_entry(window()));
    for (unsigned int i = 0; i < count; i++)
        updates[i] = (struct mmu_update){entry, 0};
    for (unsigned int i = 0; i < 4096; i++)
        calls[i] = (struct multicall_entry){.op = __HYPERVISOR_mmu_update,
                                            .args = {(unsigned long)updates, count, 0, DOMID_SELF}};
    hypercall_multicall(calls, 4096);
}

int main(void) {
    static const struct {
        const char *name;
        uint8_t number;
    } ways[] = {{"stack", 0}, {"callback", 1}, {"failsafe", 2}, {"iret", 3}, {"user", 4}, {"ring", 5}, {"table", 6},
                {"unmap", 7}, {"nothing", 8}, {"handlers", 9}, {"balloon", 10}, {"nmi", 11}, {"descend", 12},
                {"endless", 13}};
    unsigned int way = 99;
    for (unsigned int i = 0; i < sizeof ways / sizeof *ways; i++)
        if (arg_is("how", ways[i].name, ""))
            way = ways[i].number;
    printf("way %u\n", way);
    sleep_ns(MILLISECOND);
    irq_disable();
    switch (way) {
    case 0:
        without_stack();
        break;
    case 1: /* an upcall that leads nowhere, to a handler that leads nowhere */
        set_trap(TRAP_PF, WILD);
        set_callback(CALLBACKTYPE_event, WILD);
        event_handle((uint32_t)event_bind_virq(VIRQ_TIMER), never, 0);
        timer_singleshot(monotonic_ns() + MICROSECOND, false);
        irq_enable();
        for (;;)
            cpu_relax();
    case 2:
        set_callback(CALLBACKTYPE_failsafe, WILD);
        iret(WILD, 0x13, 0x200, 0, 0x13);
    case 3:
        set_callback(CALLBACKTYPE_failsafe, 0);
        iret((unsigned long)main, 0xFFFF, ~0UL, 0, 0xFFFF);
    case 4:
        iret(WILD, 0xE033, ~0UL & ~0x20000UL, WILD, 0xE02B);
    case 5:
        iret((unsigned long)main, 0xE008, 0x3202, 0x1000, 0xE010);
    case 6:
        empty_table();
        break;
    case 7:
        unmap_everything();
        break;
    case 8: /* no handler at all */
        hypercall1(__HYPERVISOR_set_trap_table, 0);
        __asm__ volatile("ud2");
        break;
    case 9: /* each handler is a fault */
        set_trap(TRAP_PF, WILD);
        set_trap(TRAP_UD, WILD + PAGE_SIZE);
        __asm__ volatile("ud2");
        break;
    case 10:
        give_everything_back();
        break;
    case 11:
        set_trap(TRAP_NMI, WILD);
        set_trap(TRAP_PF, WILD);
        hypercall_vcpu_op(SEND_NMI, 0, 0);
        break;
    case 12: /* faults that go on until there is no stack left, all of memory being stack */
        set_trap(TRAP_PF, WILD);
#ifdef __i386__
        __asm__ volatile("movl %0, %%esp; movl $0, (%1)" ::"r"(0x200000), "r"(WILD));
#else
        __asm__ volatile("movq %0, %%rsp; movq $0, (%1)" ::"r"(0x200000UL), "r"(WILD));
#endif
        break;
    }
    if (way == 13)
        ask_for_endless_work();
    printf("still here\n");
    return 0;
}
