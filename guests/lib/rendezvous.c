#include "rendezvous.h"

#include "args.h"
#include "atomic.h"
#include "clock.h"
#include "events.h"
#include "pages.h"
#include "panic.h"

#define RETRY (1 * MILLISECOND)

static uint64_t time_limit(void) {
    return monotonic_ns() + arg_number("wait", 30) * SECOND;
}

bool rendezvous_await(struct rendezvous *meeting, const uint32_t *word, uint32_t value) {
    uint64_t limit = time_limit();
    for (;;) {
        event_clear(meeting->port); /* before the look: an event that comes after it ends the poll at once */
        if ((int32_t)(READ_ONCE(*word) - value) >= 0)
            return true;
        if (monotonic_ns() >= limit)
            return false;
        event_poll(meeting->port, limit);
    }
}

void rendezvous_offer(struct rendezvous *meeting, uint16_t peer, unsigned int channel) {
    int port = event_alloc_unbound(peer);
    if (port < 0 || channel >= RENDEZVOUS_CHANNELS)
        panic("no port for domain %u on channel %u: error %d", peer, channel, -port);
    *meeting = (struct rendezvous){
        .peer = peer,
        .side = OFFERER,
        .port = (uint32_t)port,
        .ref = FIRST_RENDEZVOUS_REF + channel,
        .page = page_alloc(),
    };
    meeting->page->port = meeting->port;
    barrier();
    WRITE_ONCE(meeting->page->magic, RENDEZVOUS_MAGIC);
    grant_access_at(meeting->ref, peer, meeting->page, false);
    if (!rendezvous_await(meeting, &meeting->page->joined, 1))
        panic("domain %u did not join channel %u", peer, channel);
}

void rendezvous_join(struct rendezvous *meeting, uint16_t peer, unsigned int channel) {
    uint64_t limit = time_limit();
    *meeting = (struct rendezvous){.peer = peer, .side = JOINER, .ref = FIRST_RENDEZVOUS_REF + channel};
    int status;
    while ((status = grant_map(peer, meeting->ref, 0, &meeting->mapping)) != GNTST_okay) {
        if (monotonic_ns() >= limit) /* until then: the peer may not exist yet, or not have come that far */
            panic("domain %u does not offer channel %u: %s", peer, channel, gntst_name(status));
        sleep_ns(RETRY);
    }
    meeting->page = meeting->mapping.address;
    if (READ_ONCE(meeting->page->magic) != RENDEZVOUS_MAGIC)
        panic("what domain %u grants at reference %u is no rendezvous", peer, meeting->ref);
    int port = event_bind_interdomain(peer, meeting->page->port);
    if (port < 0)
        panic("binding port %u of domain %u: error %d", meeting->page->port, peer, -port);
    meeting->port = (uint32_t)port;
    WRITE_ONCE(meeting->page->joined, 1);
    event_notify(meeting->port);
}

void rendezvous_barrier(struct rendezvous *meeting) {
    uint32_t *phase = meeting->page->phase;
    uint32_t mine = phase[meeting->side] + 1;
    barrier();
    WRITE_ONCE(phase[meeting->side], mine);
    event_notify(meeting->port);
    if (!rendezvous_await(meeting, &phase[!meeting->side], mine))
        panic("domain %u did not reach the barrier", meeting->peer);
}

void rendezvous_leave(struct rendezvous *meeting) {
    if (meeting->side == JOINER) {
        grant_unmap(&meeting->mapping);
        event_notify(meeting->port); /* the offerer can revoke now */
        event_close(meeting->port);
        return;
    }
    uint64_t limit = time_limit();
    while (!grant_revoke(meeting->ref)) {
        if (monotonic_ns() >= limit)
            panic("domain %u keeps channel %u mapped", meeting->peer, meeting->ref - FIRST_RENDEZVOUS_REF);
        event_clear(meeting->port);
        event_poll(meeting->port, monotonic_ns() + RETRY);
    }
    event_close(meeting->port);
    page_free(meeting->page);
}
