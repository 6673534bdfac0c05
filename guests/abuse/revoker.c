/* Takes pages back that the other domain has mapped, in every wrong way; the other must not notice.
 *
 * Command line: role=revoker|holder peer=<domid>
 */
#include "guest.h"

#define PAGES 4
#define TEXT 0xA5
#define NOBODY 0x7FE0

static struct rendezvous meeting;

static unsigned int wrong_bytes(const volatile uint8_t *page) {
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < PAGE_SIZE; i++)
        wrong += page[i] != TEXT;
    return wrong;
}

static void hold(uint16_t peer) {
    struct grant_mapping mappings[PAGES];
    rendezvous_join(&meeting, peer, 0);
    rendezvous_barrier(&meeting);
    for (unsigned int i = 0; i < PAGES; i++) {
        int status = grant_map(peer, meeting.page->refs[OFFERER][i], 0, &mappings[i]);
        check(status == GNTST_okay, "page %u is mapped: %s", i, gntst_name(status));
    }
    rendezvous_barrier(&meeting); /* now the revoker does its worst */
    rendezvous_barrier(&meeting);
    for (unsigned int i = 0; i < PAGES; i++) {
        unsigned int wrong = wrong_bytes(mappings[i].address);
        int vector = probe_write(mappings[i].address, TEXT);
        check(!wrong && vector == NO_TRAP, "page %u is still there: %u bytes wrong, exception %d", i, wrong, vector);
    }
    for (unsigned int i = 0; i < PAGES; i++) {
        int status = grant_unmap(&mappings[i]);
        check(status == GNTST_okay, "page %u is unmapped: %s", i, gntst_name(status));
    }
    rendezvous_barrier(&meeting);
}

/* Give the frame itself back to Xen. */
static long release(void *page) {
    unsigned long frame = frame_of(page);
    struct xen_memory_reservation op = {.extent_start = &frame, .nr_extents = 1, .domid = DOMID_SELF};
    return hypercall_memory_op(XENMEM_decrease_reservation, &op);
}

static void revoke(uint16_t peer) {
    void *pages[PAGES];
    uint32_t refs[PAGES];
    rendezvous_offer(&meeting, peer, 0);
    for (unsigned int i = 0; i < PAGES; i++) {
        pages[i] = page_alloc();
        memset(pages[i], TEXT, PAGE_SIZE);
        refs[i] = meeting.page->refs[OFFERER][i] = grant_access(peer, pages[i], false);
    }
    rendezvous_barrier(&meeting);
    rendezvous_barrier(&meeting);
    check(!grant_revoke(refs[0]), "the proper way is refused while the page is mapped");
    struct grant_entry_v1 *table = grant_table();
    WRITE_ONCE(table[refs[0]].flags, GTF_invalid); /* the permission, though Xen has it marked as used, */
    WRITE_ONCE(table[refs[1]].frame, 0);           /* the frame, */
    WRITE_ONCE(table[refs[2]].domid, NOBODY);         /* and who may have it */
    printf("revoker: releasing the frame of page 3: %ld\n", release(pages[3]));
    rendezvous_barrier(&meeting);
    rendezvous_barrier(&meeting);
}

int main(void) {
    bool holder = arg_is("role", "holder", "revoker");
    if (holder)
        hold(arg_domid("peer"));
    else
        revoke(arg_domid("peer"));
    return checks_failed(holder ? "holder" : "revoker");
}
