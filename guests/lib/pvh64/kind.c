/* The places of what Xen shows to the domain: all in the hole behind memory, mapped onto itself like everything. */
#include "kind.h"

#include "grants.h"
#include "hypercalls.h"
#include "panic.h"
#include "pvh64.h"

#define SHARED_INFO_PLACE 0
#define GRANT_FRAMES_PLACE 1
#define STATUS_FRAMES_PLACE (GRANT_FRAMES_PLACE + MAX_GRANT_FRAMES)
#define FOREIGN_PLACE 512 /* the next 2 MiB */

static uintptr_t place(unsigned int page) {
    return hole_start + page * PAGE_SIZE;
}

static long add_to_physmap(unsigned int space, unsigned long index, uintptr_t address) {
    struct xen_add_to_physmap op = {
        .domid = DOMID_SELF, .space = space, .idx = index, .gpfn = address >> PAGE_SHIFT};
    return hypercall_memory_op(XENMEM_add_to_physmap, &op);
}

frame_t frame_of(const volatile void *address) {
    return (uintptr_t)address >> PAGE_SHIFT;
}

struct shared_info *kind_map_shared_info(void) {
    long result = add_to_physmap(XENMAPSPACE_shared_info, 0, place(SHARED_INFO_PLACE));
    if (result < 0)
        panic("mapping shared_info: error %ld", -result);
    return (struct shared_info *)place(SHARED_INFO_PLACE);
}

struct grant_entry_v1 *kind_map_grant_frames(unsigned int first, unsigned int count) {
    for (unsigned int i = first; i < first + count; i++) {
        if (add_to_physmap(XENMAPSPACE_grant_table, i, place(GRANT_FRAMES_PLACE + i)) < 0)
            return 0;
    }
    return (struct grant_entry_v1 *)place(GRANT_FRAMES_PLACE);
}

uint16_t *kind_map_status_frames(unsigned int first, unsigned int count) {
    for (unsigned int i = first; i < first + count; i++) {
        unsigned long index = XENMAPIDX_grant_table_status | i;
        if (add_to_physmap(XENMAPSPACE_grant_table, index, place(STATUS_FRAMES_PLACE + i)) < 0)
            return 0;
    }
    return (uint16_t *)place(STATUS_FRAMES_PLACE);
}

void *kind_foreign_area(void) {
    return (void *)place(FOREIGN_PLACE);
}

uint64_t foreign_host_addr(const void *slot) {
    return (uintptr_t)slot; /* guest-physical, which is the same here */
}

static uint64_t hvm_param(uint32_t index) {
    struct xen_hvm_param op = {.domid = DOMID_SELF, .index = index};
    return hypercall_hvm_op(HVMOP_get_param, &op) < 0 ? 0 : op.value;
}

bool kind_console(struct xencons_interface **ring, uint32_t *port) {
    uint64_t frame = hvm_param(HVM_PARAM_CONSOLE_PFN);
    *ring = (struct xencons_interface *)(frame << PAGE_SHIFT);
    *port = (uint32_t)hvm_param(HVM_PARAM_CONSOLE_EVTCHN);
    return frame && *port;
}

void kind_enable_upcalls(void) {
    struct xen_hvm_param op = {
        .domid = DOMID_SELF,
        .index = HVM_PARAM_CALLBACK_IRQ,
        .value = (uint64_t)HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | UPCALL_VECTOR,
    };
    long result = hypercall_hvm_op(HVMOP_set_param, &op);
    if (result < 0)
        panic("HVM_PARAM_CALLBACK_IRQ: error %ld", -result);
}

_Noreturn void kind_die(void) {
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    __asm__ volatile("lidt %0; ud2" ::"m"(nothing)); /* a triple fault */
    __builtin_unreachable();
}
