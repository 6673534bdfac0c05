/* The other half of `writer`: maps its pages, checks every byte, answers, and tries what it must not do.
 *
 * Command line: peer=<domid of writer>
 */
#include "introduce.h"
#include "share.h"

static struct rendezvous meeting;
static struct grant_mapping to_read[MAX_PAGES], to_answer[MAX_PAGES];
static void *own[MAX_PAGES];
static unsigned int pages;

static void map_all(void) {
    const uint32_t *refs = meeting.page->refs[OFFERER];
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < pages; i++) {
        int status = grant_map(meeting.peer, refs[i], GNTMAP_readonly, &to_read[i]);
        if (status != GNTST_okay)
            panic("page %u to read, reference %u: %s", i, refs[i], gntst_name(status));
        status = grant_map(meeting.peer, refs[pages + i], 0, &to_answer[i]);
        if (status != GNTST_okay)
            panic("page %u to answer in, reference %u: %s", i, refs[pages + i], gntst_name(status));
        wrong += wrong_bytes(to_read[i].address, FROM_WRITER, i) + wrong_bytes(to_answer[i].address, TO_ANSWER, i);
    }
    check(wrong == 0, "the writer's pages: %lu bytes, %u wrong", 2 * pages * PAGE_SIZE, wrong);
}

static void refused(uint32_t ref, uint32_t flags, int expected, const char *what) {
    struct grant_mapping mapping;
    int status = grant_map(meeting.peer, ref, flags, &mapping);
    check(status == expected, "%s is refused: %s", what, gntst_name(status));
}

static void try_forbidden(void) {
    const struct rendezvous_page *page = meeting.page;
    refused(page->words[REVOKED_REF], GNTMAP_readonly, GNTST_general_error, "a revoked reference");
    refused(page->words[FOREIGN_REF], GNTMAP_readonly, GNTST_general_error, "a reference granted to another domain");
    refused(WILD_REF, GNTMAP_readonly, GNTST_bad_gntref, "a wild reference");
    refused(page->refs[OFFERER][0], 0, GNTST_general_error, "a writable mapping of a read-only reference");
    struct grant_mapping never = {to_read[0].address, 0x00ABCDEF};
    int status = grant_unmap(&never);
    check(status == GNTST_bad_handle, "unmapping a wild handle is refused: %s", gntst_name(status));
    int vector = probe_write(to_read[0].address, 0xFF);
    check(vector == TRAP_GP || vector == TRAP_PF,
          "a write through a read-only mapping is refused: exception %d", vector);
    check(wrong_bytes(to_read[0].address, FROM_WRITER, 0) == 0, "and nothing was written");
}

static void answer(void) {
    for (unsigned int i = 0; i < pages; i++) {
        fill_page(to_answer[i].address, ANSWER, i);
        own[i] = page_alloc();
        fill_page(own[i], FROM_READER, i);
        meeting.page->refs[JOINER][i] = grant_access(meeting.peer, own[i], true);
    }
    int port = event_bind_interdomain(meeting.peer, meeting.page->words[SIGNAL_PORT]);
    if (port < 0)
        panic("binding the signal's port %u: error %d", meeting.page->words[SIGNAL_PORT], -port);
    int result = event_notify((uint32_t)port);
    check(result == 0, "answered in %u pages and sent the signal", pages);
}

static void unmap_all(void) {
    unsigned int failed = 0;
    for (unsigned int i = 0; i < pages; i++) {
        failed += grant_unmap(&to_read[i]) != GNTST_okay;
        failed += grant_unmap(&to_answer[i]) != GNTST_okay;
    }
    check(failed == 0, "unmapped all %u pages", 2 * pages);
    unsigned int kept = 0;
    for (unsigned int i = 0; i < pages; i++)
        kept += !grant_end(meeting.page->refs[JOINER][i]);
    check(kept == 0, "revoked all %u references of its own", pages);
}

int main(void) {
    uint16_t peer = arg_domid("peer");
    introduce("reader");
    printf("looking for the writer, domain %u\n", peer);
    rendezvous_join(&meeting, peer, 0);
    printf("met the writer: reference %u is mapped at %p, port %u is bound\n", meeting.ref, (void *)meeting.page,
           meeting.port);
    rendezvous_barrier(&meeting);
    pages = meeting.page->words[PAGES];
    if (pages == 0 || pages > MAX_PAGES)
        panic("the writer says that it shares %u pages", pages);
    map_all();
    try_forbidden();
    answer();
    rendezvous_barrier(&meeting); /* the writer checks, and maps what is ours */
    rendezvous_barrier(&meeting);
    unmap_all();
    rendezvous_barrier(&meeting); /* the writer revokes */
    rendezvous_barrier(&meeting);
    for (unsigned int i = 0; i < 2 * pages; i += pages)
        refused(meeting.page->refs[OFFERER][i], GNTMAP_readonly, GNTST_general_error, "a reference revoked meanwhile");
    rendezvous_barrier(&meeting);
    rendezvous_leave(&meeting);
    return checks_failed("reader");
}
