/* A number goes round a ring of domains.  Each changes it in its own way, so that it tells whether all had their turn.
 *
 * Command line: first=<domid of replica 0> count=<2 or more> index=<own> laps=<1000>
 *
 * Replica 0 offers its page to the next one, which joins, offers its own to the one after it, and so on round.
 */
#include "crowd.h"

enum ring_word { LAP, NUMBER }; /* of the page to the next one */

#define MAX_RING 32000

static struct rendezvous to_next, from_last;

static uint32_t changed(uint32_t number, unsigned int index) {
    return number * 1664525U + 2 * index + 1;
}

static void on_number(uint32_t port, void *context) {
    (void)port;
    (void)context; /* having been woken is all */
}

static void pass(uint32_t lap, uint32_t number) {
    WRITE_ONCE(to_next.page->words[NUMBER], number);
    barrier();
    WRITE_ONCE(to_next.page->words[LAP], lap);
    event_notify(to_next.port);
}

static uint32_t take(uint32_t lap) {
    wait_for(READ_ONCE(from_last.page->words[LAP]) == lap);
    return READ_ONCE(from_last.page->words[NUMBER]);
}

static void meet(const struct crowd *crowd) {
    uint16_t next = crowd_domid(crowd, crowd->index + 1), last = crowd_domid(crowd, crowd->index + crowd->count - 1);
    if (crowd->index)
        rendezvous_join(&from_last, last, 0);
    rendezvous_offer(&to_next, next, 0);
    if (!crowd->index)
        rendezvous_join(&from_last, last, 0);
    event_handle(from_last.port, on_number, 0);
}

/* Lap 1 shows that all are there, and is not timed. */
static uint32_t begin(uint32_t laps) {
    pass(1, 1);
    uint32_t number = take(1);
    bench_start("ring");
    for (uint32_t lap = 2; lap <= laps + 1; lap++) {
        pass(lap, changed(number, 0));
        number = take(lap);
    }
    return number;
}

static uint32_t expected(unsigned int count, uint32_t laps) {
    uint32_t number = 1;
    for (uint32_t lap = 1; lap <= laps + 1; lap++)
        for (unsigned int index = lap == 1; index < count; index++)
            number = changed(number, index);
    return number;
}

int main(void) {
    struct crowd crowd = crowd_from_args(2, MAX_RING);
    uint32_t laps = (uint32_t)arg_number("laps", 1000);
    if (laps == 0)
        panic("laps=0: nothing to do");
    printf("ring: number %u of %u is up\n", crowd.index, crowd.count);
    meet(&crowd);
    if (crowd.index == 0) {
        uint32_t number = begin(laps);
        bench_stop("ring", (unsigned long)laps * crowd.count);
        uint32_t wanted = expected(crowd.count, laps);
        check(number == wanted, "after %u laps of %u hops the number is %x, expected %x", laps, crowd.count, number,
              wanted);
    } else {
        for (uint32_t lap = 1; lap <= laps + 1; lap++)
            pass(lap, changed(take(lap), crowd.index));
        check(from_last.page->words[LAP] == laps + 1, "%u laps came by, none was missed", laps);
    }
    event_mask(from_last.port);
    event_mask(to_next.port);
    if (crowd.index) /* whoever comes before waits until we have left its page */
        rendezvous_leave(&from_last);
    rendezvous_leave(&to_next);
    if (!crowd.index)
        rendezvous_leave(&from_last);
    return checks_failed("ring");
}
