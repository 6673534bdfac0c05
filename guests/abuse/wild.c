/* Every hypercall with pointers that lead nowhere: Xen answers with an error number and goes on.
 *
 * Targets: pvh64 pv64
 */
#include "guest.h"

#define NUMBERS 64
#define ERRNO_MAX 4095

static unsigned int calls, counts[256], unexpected;

static const struct {
    unsigned long address;
    const char *what;
} pointers[] = {
    {0, "null"},
    {8, "the null page"},
    {0x7F0000000000, "no mapping"},
    {0x8000000000000000, "not canonical"},
    {~0UL - 3, "the end of the address space"},
    {0xE0000000, "mapped, but no memory there"},
};

/* Calls that fail with EFAULT when they cannot read or write their argument.  (XENMEM_decrease_reservation is none:
 * it says that it released 0 pages.) */
static const struct {
    uint8_t number, command;
    bool has_count; /* (command, pointer, 1) instead of (command, pointer) */
    bool has_vcpu;  /* (command, 0, pointer) */
} readers[] = {
    {__HYPERVISOR_memory_op, XENMEM_current_reservation, false, false},
    {__HYPERVISOR_memory_op, XENMEM_add_to_physmap, false, false},
    {__HYPERVISOR_memory_op, XENMEM_memory_map, false, false},
    {__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, false, false},
    {__HYPERVISOR_xen_version, XENVER_extraversion, false, false},
    {__HYPERVISOR_xen_version, XENVER_capabilities, false, false},
    {__HYPERVISOR_xen_version, XENVER_get_features, false, false},
    {__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, true, false},
    {__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, true, false},
    {__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, true, false},
    {__HYPERVISOR_grant_table_op, GNTTABOP_copy, true, false},
    {__HYPERVISOR_grant_table_op, GNTTABOP_query_size, true, false},
    {__HYPERVISOR_grant_table_op, GNTTABOP_set_version, true, false},
    {__HYPERVISOR_vcpu_op, VCPUOP_set_periodic_timer, false, true},
    {__HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, false, true},
    {__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, false, true},
    {__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, false, true},
    {__HYPERVISOR_sched_op, SCHEDOP_shutdown, false, false},
    {__HYPERVISOR_sched_op, SCHEDOP_poll, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_close, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_send, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_status, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, false, false},
    {__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, false, false},
    {__HYPERVISOR_hvm_op, HVMOP_set_param, false, false},
    {__HYPERVISOR_hvm_op, HVMOP_get_param, false, false},
};

static long count_result(long result) {
    calls++;
    if (result < 0 && result >= -255)
        counts[-result]++;
    else if (result < -ERRNO_MAX)
        unexpected++; /* neither an error number nor a value */
    else
        counts[0]++;
    return result;
}

static long call_reader(unsigned int i, unsigned long pointer) {
    if (readers[i].has_vcpu)
        return hypercall3(readers[i].number, readers[i].command, 0, pointer);
    return hypercall3(readers[i].number, readers[i].command, pointer, readers[i].has_count);
}

static void check_readers(unsigned long pointer, const char *what) {
    unsigned int other = 0;
    const unsigned int count = sizeof readers / sizeof *readers;
    for (unsigned int i = 0; i < count; i++) {
        long result = count_result(call_reader(i, pointer));
        if (result != -XEN_EFAULT) {
            printf("hypercall %u command %u: %ld\n", readers[i].number, readers[i].command, result);
            other++;
        }
    }
    check(other == 0, "%s (0x%lx): %u calls refused, %u not", what, pointer, count - other, other);
}

/* Structures that are there, with pointers in them that are not. */
static void check_inner_pointers(void) {
    for (unsigned int i = 0; i < sizeof pointers / sizeof *pointers; i++) {
        void *pointer = (void *)pointers[i].address;
        struct sched_poll poll = {.ports = pointer, .nr_ports = 1, .timeout = 1};
        struct xen_memory_map map = {.nr_entries = 1, .buffer = pointer};
        struct gnttab_setup_table setup = {.dom = DOMID_SELF, .nr_frames = 1, .frame_list = pointer};
        long polled = count_result(hypercall_sched_op(SCHEDOP_poll, &poll));
        long mapped = count_result(hypercall_memory_op(XENMEM_memory_map, &map));
        long multi = count_result(hypercall_multicall(pointer, 1));
        count_result(hypercall_grant_table_op(GNTTABOP_setup_table, &setup, 1));
        check(polled == -XEN_EFAULT && mapped == -XEN_EFAULT && multi == -XEN_EFAULT,
              "lists at %s: poll %ld, memory_map %ld, multicall %ld", pointers[i].what, polled, mapped, multi);
    }
}

/* All numbers, and all arguments wild, by the instruction itself. */
static void call_everything(void) {
    for (unsigned int i = 0; i < sizeof pointers / sizeof *pointers; i++) {
        unsigned long wild = pointers[i].address;
        if (wild == 0)
            continue; /* command 0 of some calls means something */
        for (unsigned long number = 0; number < NUMBERS; number++)
            count_result(hypercall_raw(number, wild, wild, wild, wild, wild));
    }
    static const unsigned long numbers[] = {NUMBERS, 127, 128, 0xFFFF, 0x80000000, 0xFFFFFFFF, ~0UL};
    for (unsigned int i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        long result = count_result(hypercall_raw(numbers[i], 0, 0, 0, 0, 0));
        check(result == -XEN_ENOSYS, "hypercall 0x%lx: %ld", numbers[i], result);
    }
}

int main(void) {
    extern char text_start[], boot_stack_guard[];
    for (unsigned int i = 0; i < sizeof pointers / sizeof *pointers; i++)
        check_readers(pointers[i].address, pointers[i].what);
    check_readers((unsigned long)boot_stack_guard - 1, "across the end of a mapping");
    long result = count_result(hypercall_xen_version(XENVER_extraversion, text_start));
    check(result == -XEN_EFAULT, "a result for a page that is read-only: %ld", result);
    check_inner_pointers();
    call_everything();
    timer_singleshot_stop(); /* one of the calls may have been a valid one */
    timer_set(0);
    check(unexpected == 0, "every result was a value or an error number, except %u", unexpected);
    printf("wild: %u calls: %u returned a value, %u EFAULT, %u ENOSYS, %u EINVAL, %u EPERM\n", calls, counts[0],
           counts[XEN_EFAULT], counts[XEN_ENOSYS], counts[XEN_EINVAL], counts[XEN_EPERM]);
    return checks_failed("wild");
}
