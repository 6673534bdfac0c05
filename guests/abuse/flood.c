/* One side sends events without end; the other shows that it still gets its own work done.
 *
 * Command line: role=flooder|victim peer=<domid> count=<events to send, 0: for ever, default 100000> naps=<20>
 */
#include "guest.h"

static volatile unsigned long received;

static void on_event(uint32_t port, void *context) {
    (void)port;
    (void)context;
    received++;
}

static int flood(uint16_t peer, uint64_t count) {
    struct rendezvous meeting;
    rendezvous_join(&meeting, peer, 0);
    printf("flood: sending\n");
    for (uint64_t i = 0; !count || i < count; i++)
        event_notify(meeting.port);
    printf("flood: %" PRIu64 " events sent\n", count);
    return 0;
}

static int endure(uint16_t peer, unsigned int naps) {
    struct rendezvous meeting;
    rendezvous_offer(&meeting, peer, 0);
    event_handle(meeting.port, on_event, 0);
    uint64_t start = monotonic_ns();
    for (unsigned int i = 0; i < naps; i++)
        sleep_ns(1 * MILLISECOND);
    uint64_t took = monotonic_ns() - start;
    event_close(meeting.port);
    printf("victim: %lu upcalls during %u naps of 1 ms, which took %" PRIu64 " us\n", received, naps,
           took / MICROSECOND);
    check(received > 0, "the flood came");
    return checks_failed("victim");
}

int main(void) {
    uint16_t peer = arg_domid("peer");
    if (arg_is("role", "victim", "flooder"))
        return endure(peer, (unsigned int)arg_number("naps", 20));
    return flood(peer, arg_number("count", 100000));
}
