/* A paravirtual domain gives pages away for good, to one that is of any kind and has a grant table of either version.
 *
 * Command line: role=giver|taker peer=<domid> pages=<4> version=<1 or 2, of the taker's table>
 */
#include "grants_v2.h"
#include "guest.h"
#include "share.h"

#if __has_include("pv.h")
#include "pv.h"
#define PARAVIRTUAL true
#else
#define PARAVIRTUAL false
#endif

#define FIRST_REF 200
#define COMPLETED (GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed)

enum word { COUNT };

static struct rendezvous meeting;

static int transfer(frame_t frame, uint32_t ref) {
    struct gnttab_transfer op = {.mfn = frame, .domid = meeting.peer, .ref = ref, .status = GNTST_general_error};
    long result = hypercall_grant_table_op(GNTTABOP_transfer, &op, 1);
    return result < 0 ? (int)result : op.status;
}

/* Have nothing at the address of a page. */
static void let_go(void *page) {
#if PARAVIRTUAL
    set_mapping((uintptr_t)page, 0);
#else
    (void)page;
#endif
}

static void give(uint32_t pages) {
    rendezvous_offer(&meeting, meeting.peer, 0);
    meeting.page->words[COUNT] = pages;
    rendezvous_barrier(&meeting);
    rendezvous_barrier(&meeting); /* the taker is ready */
    unsigned int given = 0;
    void *kept = page_alloc(), *lost = page_alloc();
    int status = transfer(frame_of(kept), FIRST_REF);
    check(status == GNTST_bad_page, "a page that is mapped cannot be given: %s", gntst_name(status));
    for (unsigned int i = 0; i < pages; i++) {
        void *page = page_alloc();
        fill_page(page, FROM_WRITER, i);
        frame_t frame = frame_of(page);
        let_go(page);
        given += transfer(frame, FIRST_REF + i) == GNTST_okay;
    }
    check(given == pages, "gave %u pages", given);
    frame_t frame = frame_of(lost);
    let_go(lost);
    status = transfer(frame, FIRST_REF);
    check(status == GNTST_general_error, "a reference takes one page: %s", gntst_name(status));
    status = transfer(frame, FIRST_REF);
    check(status == GNTST_bad_page, "and the page that it did not take is lost: %s", gntst_name(status));
    rendezvous_barrier(&meeting);
    rendezvous_barrier(&meeting); /* the taker looks */
    rendezvous_leave(&meeting);
}

/* The page that came with an entry whose frame is `frame` now. */
static void *received(void *place, frame_t frame) {
#if PARAVIRTUAL
    map_frame(place, frame);
#else
    (void)frame; /* it is where we wanted it */
#endif
    return place;
}

static void take(uint32_t version) {
    union grant_entry_v2 *entries = version == 2 ? grant_v2_begin() : 0;
    struct grant_entry_v1 *old = entries ? 0 : grant_table();
    rendezvous_join(&meeting, meeting.peer, 0);
    rendezvous_barrier(&meeting);
    uint32_t pages = meeting.page->words[COUNT];
    void *place[RENDEZVOUS_REFS];
    for (unsigned int i = 0; i < pages; i++) {
        place[i] = foreign_slot_alloc();
        frame_t frame = (uintptr_t)place[i] >> PAGE_SHIFT;
        if (entries)
            entries[FIRST_REF + i].full_page.frame = frame;
        else
            old[FIRST_REF + i].frame = (uint32_t)frame;
        uint32_t *header = entries ? (uint32_t *)&entries[FIRST_REF + i].hdr : (uint32_t *)&old[FIRST_REF + i];
        barrier();
        WRITE_ONCE(*header, (uint32_t)meeting.peer << 16 | GTF_accept_transfer);
    }
    rendezvous_barrier(&meeting);
    rendezvous_barrier(&meeting); /* they come */
    unsigned int completed = 0, wrong = 0;
    for (unsigned int i = 0; i < pages; i++) {
        const union grant_entry_v2 *entry = entries ? &entries[FIRST_REF + i] : 0;
        uint16_t flags = entry ? READ_ONCE(entry->hdr.flags) : READ_ONCE(old[FIRST_REF + i].flags);
        completed += flags == COMPLETED;
        uint8_t *page = received(place[i], entry ? (frame_t)entry->full_page.frame : old[FIRST_REF + i].frame);
        wrong += wrong_bytes(page, FROM_WRITER, i);
        page[0] = 1; /* it is ours to write */
    }
    check(completed == pages, "%u transfers completed, by entries of version %u", completed, version);
    check(wrong == 0, "%lu bytes came, %u wrong", pages * PAGE_SIZE, wrong);
    rendezvous_barrier(&meeting);
    rendezvous_leave(&meeting);
}

int main(void) {
    bool giver = arg_is("role", "giver", "giver");
    uint32_t pages = (uint32_t)arg_number("pages", 4);
    if (pages < 1 || pages > 32 || (giver && !PARAVIRTUAL))
        panic("pages=%u: 1 to 32, and only a paravirtual guest can give them", pages);
    meeting.peer = arg_domid("peer");
    if (giver)
        give(pages);
    else
        take((uint32_t)arg_number("version", 1));
    return checks_failed(giver ? "giver" : "taker");
}
