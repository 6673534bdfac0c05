/* Bytes through shared pages, from one domain to the other, as fast as they go.
 *
 * Command line: role=send|receive peer=<domid> bytes=<16 MiB> pages=<1 to 64, default 1>
 */
#include "guest.h"

enum stream_word { PRODUCED, CONSUMED, WAITING_SENDER, WAITING_RECEIVER, RING_PAGES, LENGTH };

static struct rendezvous meeting;
static char *ring[RENDEZVOUS_REFS];
static struct grant_mapping mappings[RENDEZVOUS_REFS];
static char local[PAGE_SIZE] __attribute__((aligned(4096)));

/* Sleep until the other side moved its counter.  It notifies only those who said that they wait. */
static void wait_while(uint32_t *counter, uint32_t value, uint32_t *waiting) {
    while (READ_ONCE(*counter) == value) {
        event_clear(meeting.port);
        WRITE_ONCE(*waiting, 1);
        full_barrier(); /* say so before the last look */
        if (READ_ONCE(*counter) == value)
            event_poll(meeting.port, POLL_FOREVER);
    }
}

static void publish(uint32_t *counter, uint32_t value, uint32_t *waiting) {
    barrier();
    WRITE_ONCE(*counter, value);
    if (xchg(waiting, 0))
        event_notify(meeting.port);
}

/* Counters count pages. */
static void send(uint32_t total, uint32_t pages) {
    uint32_t *words = meeting.page->words;
    for (uint32_t sent = 0; sent < total; sent++) {
        wait_while(&words[CONSUMED], sent - pages, &words[WAITING_SENDER]);
        memcpy(ring[sent % pages], local, PAGE_SIZE);
        publish(&words[PRODUCED], sent + 1, &words[WAITING_RECEIVER]);
    }
    while (READ_ONCE(words[CONSUMED]) != total)
        wait_while(&words[CONSUMED], READ_ONCE(words[CONSUMED]), &words[WAITING_SENDER]);
}

static void receive(uint32_t total, uint32_t pages) {
    uint32_t *words = meeting.page->words;
    for (uint32_t got = 0; got < total; got++) {
        wait_while(&words[PRODUCED], got, &words[WAITING_RECEIVER]);
        memcpy(local, ring[got % pages], PAGE_SIZE);
        publish(&words[CONSUMED], got + 1, &words[WAITING_SENDER]);
    }
}

static void offer(uint16_t peer) {
    uint32_t pages = (uint32_t)arg_number("pages", 1);
    if (pages == 0 || pages > RENDEZVOUS_REFS)
        panic("pages=%u: 1 to %u are possible", pages, RENDEZVOUS_REFS);
    memset(local, 0x5A, sizeof local);
    rendezvous_offer(&meeting, peer, 0);
    for (uint32_t i = 0; i < pages; i++) {
        ring[i] = page_alloc();
        meeting.page->refs[OFFERER][i] = grant_access(peer, ring[i], false);
    }
    meeting.page->words[RING_PAGES] = pages;
    meeting.page->words[LENGTH] = (uint32_t)((arg_number("bytes", 16 << 20) + PAGE_SIZE - 1) / PAGE_SIZE);
    rendezvous_barrier(&meeting);
}

static void join(uint16_t peer) {
    rendezvous_join(&meeting, peer, 0);
    rendezvous_barrier(&meeting);
    for (uint32_t i = 0; i < meeting.page->words[RING_PAGES] && i < RENDEZVOUS_REFS; i++) {
        int status = grant_map(peer, meeting.page->refs[OFFERER][i], 0, &mappings[i]);
        if (status != GNTST_okay)
            panic("page %u of the ring: %s", i, gntst_name(status));
        ring[i] = mappings[i].address;
    }
}

int main(void) {
    uint16_t peer = arg_domid("peer");
    bool sender = arg_is("role", "send", "send");
    if (sender)
        offer(peer);
    else
        join(peer);
    uint32_t pages = meeting.page->words[RING_PAGES], total = meeting.page->words[LENGTH];
    rendezvous_barrier(&meeting);
    if (sender) {
        bench_start("stream");
        send(total, pages);
        bench_stop("stream", total * PAGE_SIZE);
    } else {
        receive(total, pages);
        printf("%lu bytes came, the last one is 0x%02x\n", total * PAGE_SIZE, local[PAGE_SIZE - 1]);
        for (uint32_t i = 0; i < pages; i++)
            grant_unmap(&mappings[i]);
    }
    rendezvous_barrier(&meeting);
    rendezvous_leave(&meeting);
    return 0;
}
