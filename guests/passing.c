/* Two domains share pages and take turns: each writes one of them whole, and the other finds every word of it.
 *
 * Command line: role=ping|pong peer=<domid> rounds=<100> pages=<1 to 64, default 16>
 * `ping` grants the pages and says how many rounds there are.  A round is a turn of each.
 */
#include "guest.h"

#define WORDS (PAGE_SIZE / sizeof(uint32_t))

enum word { ROUNDS, COUNT, TURN };

static struct rendezvous meeting;
static uint32_t *page[RENDEZVOUS_REFS];
static struct grant_mapping mapping[RENDEZVOUS_REFS];

/* Each word depends on the turn and on its place. */
static uint32_t word_of(uint32_t turn, unsigned int place) {
    return turn * 2654435761u + place;
}

static void write_page(uint32_t turn, uint32_t pages) {
    uint32_t *words = page[turn % pages];
    for (unsigned int i = 0; i < WORDS; i++)
        words[i] = word_of(turn, i);
    barrier();
    WRITE_ONCE(meeting.page->words[TURN], turn);
    event_notify(meeting.port);
}

static unsigned int read_page(uint32_t turn, uint32_t pages) {
    if (!rendezvous_await(&meeting, &meeting.page->words[TURN], turn))
        panic("turn %u has not come", turn);
    const uint32_t *words = page[turn % pages];
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < WORDS; i++)
        wrong += words[i] != word_of(turn, i);
    return wrong;
}

static void share(bool ping, uint16_t peer, uint32_t pages) {
    for (unsigned int i = 0; ping && i < pages; i++) {
        page[i] = page_alloc();
        meeting.page->refs[OFFERER][i] = grant_access(peer, page[i], false);
    }
    rendezvous_barrier(&meeting);
    for (unsigned int i = 0; !ping && i < pages; i++) {
        int status = grant_map(peer, meeting.page->refs[OFFERER][i], 0, &mapping[i]);
        if (status != GNTST_okay)
            panic("page %u: %s", i, gntst_name(status));
        page[i] = mapping[i].address;
    }
    rendezvous_barrier(&meeting);
}

int main(void) {
    bool ping = arg_is("role", "ping", "ping");
    uint16_t peer = arg_domid("peer");
    if (ping) {
        rendezvous_offer(&meeting, peer, 0);
        meeting.page->words[ROUNDS] = (uint32_t)arg_number("rounds", 100);
        meeting.page->words[COUNT] = (uint32_t)arg_number("pages", 16);
    } else {
        rendezvous_join(&meeting, peer, 0);
    }
    rendezvous_barrier(&meeting);
    uint32_t rounds = meeting.page->words[ROUNDS], pages = meeting.page->words[COUNT];
    if (pages < 1 || pages > RENDEZVOUS_REFS)
        panic("pages=%u: 1 to %u", pages, RENDEZVOUS_REFS);
    share(ping, peer, pages);
    unsigned int wrong = 0;
    if (ping)
        bench_start("passing");
    for (uint32_t round = 0; round < rounds; round++) {
        if (ping)
            write_page(2 * round + 1, pages);
        else
            wrong += read_page(2 * round + 1, pages);
        if (ping)
            wrong += read_page(2 * round + 2, pages);
        else
            write_page(2 * round + 2, pages);
    }
    if (ping)
        bench_stop("passing", rounds);
    check(wrong == 0, "%u rounds over %u pages: %u words wrong", rounds, pages, wrong);
    for (unsigned int i = 0; !ping && i < pages; i++)
        grant_unmap(&mapping[i]);
    rendezvous_barrier(&meeting);
    for (unsigned int i = 0; ping && i < pages; i++)
        check(grant_end(meeting.page->refs[OFFERER][i]), "page %u is mine again", i);
    rendezvous_leave(&meeting);
    return checks_failed("passing");
}
