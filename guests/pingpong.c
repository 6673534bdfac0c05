/* Two domains pass a number back and forth through a granted page and an event channel.
 *
 * Command line: role=ping|pong peer=<domid> rounds=<1000> mode=poll|block
 * poll waits in SCHEDOP_poll with the port masked; block in HLT, woken by an upcall.  The roles may differ in it.
 */
#include "guest.h"

static struct rendezvous meeting;

static void on_event(uint32_t port, void *context) {
    (void)port;
    (void)context; /* having been woken is all */
}

static void await(const uint32_t *word, uint32_t value, bool block) {
    if (block) {
        wait_for(READ_ONCE(*word) == value);
        return;
    }
    for (;;) {
        event_clear(meeting.port);
        if (READ_ONCE(*word) == value)
            return;
        event_poll(meeting.port, POLL_FOREVER);
    }
}

/* Who answers is a round behind who begins. */
static void play(bool ping, uint32_t rounds, bool block) {
    uint32_t *mine = &meeting.page->words[ping ? 0 : 1], *theirs = &meeting.page->words[ping ? 1 : 0];
    for (uint32_t round = 1; round <= rounds; round++) {
        if (!ping)
            await(theirs, round, block);
        WRITE_ONCE(*mine, round);
        event_notify(meeting.port);
        if (ping)
            await(theirs, round, block);
    }
}

int main(void) {
    bool ping = arg_is("role", "ping", "ping"), block = arg_is("mode", "block", "poll");
    uint16_t peer = arg_domid("peer");
    const char *test = block ? "pingpong-block" : "pingpong-poll";
    printf("%s: %s is up\n", test, ping ? "ping" : "pong");
    if (ping) {
        rendezvous_offer(&meeting, peer, 0);
        WRITE_ONCE(meeting.page->words[2], (uint32_t)arg_number("rounds", 1000));
    } else {
        rendezvous_join(&meeting, peer, 0);
    }
    rendezvous_barrier(&meeting);
    uint32_t rounds = meeting.page->words[2];
    if (block)
        event_handle(meeting.port, on_event, 0);
    if (ping)
        bench_start(test);
    uint64_t start = monotonic_ns();
    play(ping, rounds, block);
    uint64_t duration = monotonic_ns() - start;
    if (ping)
        bench_stop(test, rounds);
    event_mask(meeting.port);
    rendezvous_barrier(&meeting);
    rendezvous_leave(&meeting);
    printf("%s: %u rounds, %" PRIu64 " ns each\n", test, rounds, rounds ? duration / rounds : 0);
    return 0;
}
