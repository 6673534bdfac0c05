/* One backend answers the requests of many clients, each over a page and an event channel of its own.
 *
 * Command line: role=backend first=<domid of client 0> count=<clients, 1 to 1000>
 *               role=client peer=<domid of the backend> requests=<1000>
 */
#include "crowd.h"

enum star_word { REQUESTS, REQUEST, QUESTION, RESPONSE, ANSWER }; /* of each client's page */

#define MAX_CLIENTS 1000
#define QUEUE 1024 /* a power of two; no client has more than one request in it */

struct client {
    struct rendezvous meeting;
    uint32_t served, wrong;
};

static struct client clients[MAX_CLIENTS];
static uint16_t queue[QUEUE];
static volatile unsigned int queued;
static unsigned int taken;

static uint32_t question(uint32_t request) {
    return request * 2654435761U + 12345;
}

static uint32_t answer(uint32_t asked) {
    asked ^= asked >> 15;
    asked *= 0x2C1B3C6DU;
    return asked ^ asked >> 12;
}

static void on_request(uint32_t port, void *context) {
    (void)port;
    queue[queued++ % QUEUE] = (uint16_t)((struct client *)context - clients);
}

/* An event may stand for no request (what the rendezvous sent), but no request is without an event. */
static bool serve(struct client *client) {
    uint32_t *words = client->meeting.page->words;
    uint32_t request = READ_ONCE(words[REQUEST]);
    if (request == client->served)
        return false;
    uint32_t asked = READ_ONCE(words[QUESTION]);
    client->wrong += request != client->served + 1 || asked != question(request);
    client->served = request;
    WRITE_ONCE(words[ANSWER], answer(asked));
    barrier();
    WRITE_ONCE(words[RESPONSE], request);
    event_notify(client->meeting.port);
    return request == words[REQUESTS];
}

static int backend(void) {
    struct crowd crowd = crowd_from_args(1, MAX_CLIENTS);
    printf("star: the backend of %u clients is up\n", crowd.count);
    for (unsigned int i = 0; i < crowd.count; i++)
        rendezvous_join(&clients[i].meeting, crowd_domid(&crowd, i), 0);
    for (unsigned int i = 0; i < crowd.count; i++)
        rendezvous_barrier(&clients[i].meeting);
    for (unsigned int i = 0; i < crowd.count; i++) { /* all are there: go */
        event_handle(clients[i].meeting.port, on_request, &clients[i]);
        WRITE_ONCE(clients[i].meeting.page->phase[JOINER], 2);
        event_notify(clients[i].meeting.port);
    }
    for (unsigned int working = crowd.count; working;) {
        wait_for(queued != taken);
        working -= serve(&clients[queue[taken++ % QUEUE]]);
    }
    uint64_t total = 0, wrong = 0, expected = 0;
    for (unsigned int i = 0; i < crowd.count; i++) {
        total += clients[i].served;
        wrong += clients[i].wrong;
        expected += clients[i].meeting.page->words[REQUESTS];
        event_mask(clients[i].meeting.port);
    }
    for (unsigned int i = 0; i < crowd.count; i++)
        rendezvous_leave(&clients[i].meeting);
    check(total == expected && wrong == 0, "%" PRIu64 " requests of %u clients served, %" PRIu64 " were wrong", total,
          crowd.count, wrong);
    return checks_failed("star");
}

static void on_response(uint32_t port, void *context) {
    (void)port;
    (void)context; /* having been woken is all */
}

static int client(void) {
    static struct rendezvous meeting;
    uint16_t peer = arg_domid("peer");
    uint32_t requests = (uint32_t)arg_number("requests", 1000), wrong = 0;
    printf("star: a client of domain %u is up\n", peer);
    rendezvous_offer(&meeting, peer, 0);
    uint32_t *words = meeting.page->words;
    words[REQUESTS] = requests;
    rendezvous_barrier(&meeting);
    if (!rendezvous_await(&meeting, &meeting.page->phase[JOINER], 2))
        panic("the backend waits for another client");
    event_handle(meeting.port, on_response, 0);
    bench_start("star");
    for (uint32_t request = 1; request <= requests; request++) {
        WRITE_ONCE(words[QUESTION], question(request));
        barrier();
        WRITE_ONCE(words[REQUEST], request);
        event_notify(meeting.port);
        wait_for(READ_ONCE(words[RESPONSE]) == request);
        wrong += READ_ONCE(words[ANSWER]) != answer(question(request));
    }
    bench_stop("star", requests);
    event_mask(meeting.port);
    rendezvous_leave(&meeting);
    check(wrong == 0, "%u answers, %u were wrong", requests, wrong);
    return checks_failed("star");
}

int main(void) {
    if (arg_is("role", "backend", "client"))
        return backend();
    if (arg_number("requests", 1) == 0)
        panic("requests=0: nothing to ask");
    return client();
}
