/* Xen writes nothing into an entry of version 2; how it is used is in its status word. */
#include "grants_v2.h"

#include "atomic.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"

_Static_assert(sizeof(union grant_entry_v2) == 16, "an entry of version 2");

static union grant_entry_v2 *table;
static uint16_t *status;

union grant_entry_v2 *grant_v2_begin(void) {
    struct gnttab_set_version op = {.version = 2};
    long result = hypercall_grant_table_op(GNTTABOP_set_version, &op, 1);
    if (result < 0 || op.version != 2)
        panic("GNTTABOP_set_version: error %ld, and it is %u", -result, op.version);
    table = (union grant_entry_v2 *)kind_map_grant_frames(0, 1);
    status = kind_map_status_frames(0, 1);
    if (!table || !status)
        panic("Xen refuses the first frames of a grant table of version 2");
    return table;
}

/* The header comes last, in one piece: it makes the entry valid. */
static void publish(uint32_t ref, uint16_t domain, unsigned int flags) {
    barrier();
    WRITE_ONCE(*(uint32_t *)&table[ref].hdr, (uint32_t)domain << 16 | flags);
}

static unsigned int right(bool readonly) {
    return readonly ? GTF_readonly : 0;
}

void grant_v2_page(uint32_t ref, uint16_t domain, void *page, bool readonly) {
    table[ref].full_page.frame = frame_of(page);
    publish(ref, domain, GTF_permit_access | right(readonly));
}

void grant_v2_part(uint32_t ref, uint16_t domain, void *at, uint16_t length, bool readonly) {
    table[ref].sub_page.page_off = (uint16_t)((uintptr_t)at % PAGE_SIZE);
    table[ref].sub_page.length = length;
    table[ref].sub_page.frame = frame_of(at);
    publish(ref, domain, GTF_permit_access | GTF_sub_page | right(readonly));
}

void grant_v2_pass_on(uint32_t ref, uint16_t domain, uint16_t granter, uint32_t theirs, bool readonly) {
    table[ref].transitive.trans_domid = granter;
    table[ref].transitive.gref = theirs;
    publish(ref, domain, GTF_transitive | right(readonly));
}

uint16_t grant_v2_use(uint32_t ref) {
    return READ_ONCE(status[ref]);
}

bool grant_v2_end(uint32_t ref) {
    uint32_t *header = (uint32_t *)&table[ref].hdr, before = *header;
    if (grant_v2_use(ref))
        return false;
    WRITE_ONCE(*header, 0);
    full_barrier(); /* either Xen sees that it is gone, or we see that Xen uses it */
    if (!grant_v2_use(ref))
        return true;
    WRITE_ONCE(*header, before);
    return false;
}

static int copy(struct gnttab_copy *op) {
    long result = hypercall_grant_table_op(GNTTABOP_copy, op, 1);
    if (result < 0)
        panic("GNTTABOP_copy: error %ld", -result);
    return op->status;
}

static struct gnttab_copy_ptr own(void *at) {
    return (struct gnttab_copy_ptr){
        .u.gmfn = frame_of(at), .domid = DOMID_SELF, .offset = (uint16_t)((uintptr_t)at % PAGE_SIZE)};
}

int grant_copy_from(void *at, uint16_t domain, uint32_t ref, uint16_t offset, uint16_t length) {
    struct gnttab_copy op = {.source = {.u.ref = ref, .domid = domain, .offset = offset}, .dest = own(at),
                             .len = length, .flags = GNTCOPY_source_gref, .status = GNTST_general_error};
    return copy(&op);
}

int grant_copy_to(uint16_t domain, uint32_t ref, uint16_t offset, void *at, uint16_t length) {
    struct gnttab_copy op = {.source = own(at), .dest = {.u.ref = ref, .domid = domain, .offset = offset},
                             .len = length, .flags = GNTCOPY_dest_gref, .status = GNTST_general_error};
    return copy(&op);
}
