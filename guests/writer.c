/* Shares pages with `reader`: grants some to read and some to answer in, maps the reader's, takes everything back.
 *
 * Command line: peer=<domid of reader> pages=<1 to 32, default 4>
 */
#include "introduce.h"
#include "share.h"

static struct rendezvous meeting;
static void *to_read[MAX_PAGES], *to_answer[MAX_PAGES];
static unsigned int pages;
static volatile unsigned int signals;

static void on_signal(uint32_t port, void *context) {
    (void)port;
    (void)context;
    signals++;
}

static void publish(uint16_t peer) {
    uint32_t *refs = meeting.page->refs[OFFERER];
    for (unsigned int i = 0; i < pages; i++) {
        to_read[i] = page_alloc();
        to_answer[i] = page_alloc();
        fill_page(to_read[i], FROM_WRITER, i);
        fill_page(to_answer[i], TO_ANSWER, i);
        refs[i] = grant_access(peer, to_read[i], true);
        refs[pages + i] = grant_access(peer, to_answer[i], false);
    }
    printf("granted %u pages to read and %u to answer in to domain %u\n", pages, pages, peer);
    uint32_t revoked = grant_access(peer, to_read[0], true);
    check(grant_revoke(revoked), "reference %u is revoked before anybody used it", revoked);
    int signal_port = event_alloc_unbound(peer);
    if (signal_port < 0)
        panic("no port for the signal: error %d", -signal_port);
    event_handle((uint32_t)signal_port, on_signal, 0);
    meeting.page->words[PAGES] = pages;
    meeting.page->words[SIGNAL_PORT] = (uint32_t)signal_port;
    meeting.page->words[REVOKED_REF] = revoked;
    meeting.page->words[FOREIGN_REF] = grant_access(0, to_read[0], true); /* to domain 0, not to the peer */
}

static void check_answers(void) {
    unsigned int wrong = 0, changed = 0;
    for (unsigned int i = 0; i < pages; i++) {
        wrong += wrong_bytes(to_answer[i], ANSWER, i);
        changed += wrong_bytes(to_read[i], FROM_WRITER, i);
    }
    check(wrong == 0, "the reader's answer: %lu bytes, %u wrong", pages * PAGE_SIZE, wrong);
    check(changed == 0, "the pages that it could only read: %u bytes changed", changed);
}

static void read_peers_pages(uint16_t peer) {
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < pages; i++) {
        struct grant_mapping mapping;
        int status = grant_map(peer, meeting.page->refs[JOINER][i], GNTMAP_readonly, &mapping);
        if (!check(status == GNTST_okay, "map the reader's page %u: %s", i, gntst_name(status)))
            return;
        wrong += wrong_bytes(mapping.address, FROM_READER, i);
        grant_unmap(&mapping);
    }
    check(wrong == 0, "the reader's own pages: %lu bytes, %u wrong", pages * PAGE_SIZE, wrong);
}

static void refused(uint16_t domain, uint32_t ref, int expected, const char *what) {
    struct grant_mapping mapping;
    int status = grant_map(domain, ref, 0, &mapping);
    check(status == expected, "%s is refused: %s", what, gntst_name(status));
}

static void revoke_all(void) {
    const uint32_t *refs = meeting.page->refs[OFFERER];
    unsigned int kept = 0;
    for (unsigned int i = 0; i < 2 * pages; i++)
        kept += !grant_end(refs[i]);
    check(kept == 0, "all %u references are revoked after the reader unmapped, %u are not", 2 * pages, kept);
}

int main(void) {
    uint16_t peer = arg_domid("peer");
    pages = (unsigned int)arg_number("pages", 4);
    if (pages == 0 || pages > MAX_PAGES)
        panic("pages=%u: 1 to %u are possible", pages, MAX_PAGES);
    introduce("writer");
    printf("waiting for the reader, domain %u\n", peer);
    rendezvous_offer(&meeting, peer, 0);
    publish(peer);
    rendezvous_barrier(&meeting); /* the reader maps, verifies, answers */
    rendezvous_barrier(&meeting);
    check_answers();
    check(signals > 0, "the reader's signal came as an upcall");
    const uint32_t *refs = meeting.page->refs[OFFERER];
    check(grant_in_use(refs[0]) && !grant_revoke(refs[0]),
          "reference %u cannot be revoked while it is mapped", refs[0]);
    read_peers_pages(peer);
    refused(peer, WILD_REF, GNTST_bad_gntref, "a wild reference");
    refused(NOBODY, refs[0], GNTST_bad_domain, "a reference of no domain");
    rendezvous_barrier(&meeting); /* the reader unmaps */
    rendezvous_barrier(&meeting);
    revoke_all();
    rendezvous_barrier(&meeting); /* the reader tries what was revoked */
    rendezvous_barrier(&meeting);
    rendezvous_leave(&meeting);
    return checks_failed("writer");
}
