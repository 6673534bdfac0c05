/* Mapping other domains' pages into slots of address space that nothing else uses. */
#include "grants.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"

static uint16_t free_slots[FOREIGN_SLOTS];
static unsigned int free_count, fresh = 0; /* slots from `fresh` on have never been used */

void *foreign_slot_alloc(void) {
    char *area = kind_foreign_area();
    if (free_count)
        return area + free_slots[--free_count] * PAGE_SIZE;
    if (fresh == FOREIGN_SLOTS)
        panic("no slot left for a foreign page");
    return area + fresh++ * PAGE_SIZE;
}

void foreign_slot_free(void *address) {
    free_slots[free_count++] = (uint16_t)(((char *)address - (char *)kind_foreign_area()) / PAGE_SIZE);
}

int grant_map(uint16_t domain, uint32_t ref, uint32_t flags, struct grant_mapping *mapping) {
    void *slot = foreign_slot_alloc();
    struct gnttab_map_grant_ref op = {
        .host_addr = foreign_host_addr(slot),
        .flags = GNTMAP_host_map | flags,
        .ref = ref,
        .dom = domain,
        .status = GNTST_general_error,
    };
    long result = hypercall_grant_table_op(GNTTABOP_map_grant_ref, &op, 1);
    if (result < 0)
        panic("GNTTABOP_map_grant_ref: error %ld", -result);
    if (op.status != GNTST_okay) {
        foreign_slot_free(slot);
        return op.status;
    }
    *mapping = (struct grant_mapping){slot, op.handle};
    return GNTST_okay;
}

int grant_unmap(struct grant_mapping *mapping) {
    struct gnttab_unmap_grant_ref op = {
        .host_addr = foreign_host_addr(mapping->address),
        .handle = mapping->handle,
        .status = GNTST_general_error,
    };
    long result = hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, &op, 1);
    if (result < 0)
        panic("GNTTABOP_unmap_grant_ref: error %ld", -result);
    if (op.status == GNTST_okay) {
        foreign_slot_free(mapping->address);
        mapping->address = 0;
    }
    return op.status;
}

const char *gntst_name(int status) {
    static const char *const names[] = {
        "GNTST_okay",       "GNTST_general_error", "GNTST_bad_domain",      "GNTST_bad_gntref",
        "GNTST_bad_handle", "GNTST_bad_virt_addr", "GNTST_bad_dev_addr",    "GNTST_no_device_space",
        "GNTST_permission_denied", "GNTST_bad_page", "GNTST_bad_copy_arg",  "GNTST_address_too_big",
        "GNTST_eagain",     "GNTST_no_space",
    };
    return status <= 0 && -status < (int)(sizeof names / sizeof *names) ? names[-status] : "an unknown status";
}
