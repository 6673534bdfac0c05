/* Everybody tells everybody: each domain grants its page to all others, read-only, and has an event channel to each.
 * In a round it writes a number into its page, notifies the others, and waits until it has seen the number of each.
 *
 * Command line: first=<domid of replica 0> count=<2 to 900> index=<own> rounds=<100>
 *
 * No rendezvous: the page has the port for each peer, and its reference for peer K is the K-th that is handed out.
 */
#include "crowd.h"

#define MAX_CROWD 900 /* ports with handlers, and what fits in a page */
#define MAGIC 0x6c6c6143
#define RETRY (1 * MILLISECOND)

/* Two numbers, for a peer may be a round ahead: then it has seen ours of the last one, but we not its. */
struct notice {
    uint32_t magic, round, numbers[2];
    uint32_t ports[MAX_CROWD]; /* unbound ones for the peers after this domain; 0 for those before */
};
_Static_assert(sizeof(struct notice) <= PAGE_SIZE, "a notice is a page");

struct peer {
    const struct notice *notice;
    struct grant_mapping mapping;
    uint32_t port, ref;
};

static struct crowd crowd;
static struct notice *own;
static struct peer peers[MAX_CROWD];

static uint32_t number_of(unsigned int index, uint32_t round) {
    return (index + 1) * 2654435761U ^ round * 40503U;
}

static void on_notice(uint32_t port, void *context) {
    (void)port;
    (void)context; /* having been woken is all */
}

static void offer(void) {
    own = page_alloc();
    for (unsigned int i = 0; i < crowd.count; i++) {
        uint16_t domid = crowd_domid(&crowd, i);
        peers[i].ref = grant_access(domid, own, true);
        if (peers[i].ref != FIRST_DYNAMIC_REF + i)
            panic("reference %u is %u", i, peers[i].ref);
        if (i <= crowd.index)
            continue;
        int port = event_alloc_unbound(domid);
        if (port < 0)
            panic("no port for domain %u: error %d", domid, -port);
        own->ports[i] = peers[i].port = (uint32_t)port;
    }
    barrier();
    WRITE_ONCE(own->magic, MAGIC);
}

/* The peer may not exist yet, or not have come that far. */
static void join(unsigned int index, uint64_t limit) {
    struct peer *peer = &peers[index];
    uint16_t domid = crowd_domid(&crowd, index);
    int status;
    while ((status = grant_map(domid, FIRST_DYNAMIC_REF + crowd.index, GNTMAP_readonly, &peer->mapping)) !=
           GNTST_okay) {
        if (monotonic_ns() >= limit)
            panic("domain %u grants nothing: %s", domid, gntst_name(status));
        sleep_ns(RETRY);
    }
    peer->notice = peer->mapping.address;
    while (READ_ONCE(peer->notice->magic) != MAGIC) {
        if (monotonic_ns() >= limit)
            panic("domain %u does not come to its notice", domid);
        sleep_ns(RETRY);
    }
    if (index < crowd.index) {
        int port = event_bind_interdomain(domid, peer->notice->ports[crowd.index]);
        if (port < 0)
            panic("binding port %u of domain %u: error %d", peer->notice->ports[crowd.index], domid, -port);
        peer->port = (uint32_t)port;
    }
    event_handle(peer->port, on_notice, 0);
}

static void publish(uint32_t round) {
    WRITE_ONCE(own->numbers[round & 1], number_of(crowd.index, round));
    barrier();
    WRITE_ONCE(own->round, round);
    for (unsigned int i = 0; i < crowd.count; i++)
        if (i != crowd.index)
            event_notify(peers[i].port);
}

/* The first peer from `from` on that has not come to this round; there is nothing to ask those before it again. */
static unsigned int behind(unsigned int from, uint32_t round) {
    while (from < crowd.count && (from == crowd.index || READ_ONCE(peers[from].notice->round) >= round))
        from++;
    return from;
}

static unsigned int collect(uint32_t round) {
    unsigned int at = 0, wrong = 0;
    wait_for((at = behind(at, round)) == crowd.count);
    for (unsigned int i = 0; i < crowd.count; i++)
        if (i != crowd.index)
            wrong += READ_ONCE(peers[i].notice->numbers[round & 1]) != number_of(i, round);
    return wrong;
}

static void part(uint64_t limit) {
    for (unsigned int i = 0; i < crowd.count; i++) {
        if (i == crowd.index)
            continue;
        event_close(peers[i].port);
        grant_unmap(&peers[i].mapping);
    }
    for (unsigned int i = 0; i < crowd.count; i++) {
        while (!grant_end(peers[i].ref)) {
            if (monotonic_ns() >= limit)
                panic("domain %u keeps the notice mapped", crowd_domid(&crowd, i));
            sleep_ns(RETRY);
        }
    }
}

int main(void) {
    crowd = crowd_from_args(2, MAX_CROWD);
    uint32_t rounds = (uint32_t)arg_number("rounds", 100);
    uint64_t wait = arg_number("wait", 30) * SECOND;
    unsigned int wrong = 0;
    if (rounds == 0)
        panic("rounds=0: nothing to do");
    printf("broadcast: number %u of %u is up\n", crowd.index, crowd.count);
    offer();
    for (unsigned int i = 0; i < crowd.count; i++)
        if (i != crowd.index)
            join(i, monotonic_ns() + wait);
    publish(1); /* shows that all are there, and is not timed */
    wrong += collect(1);
    bench_start("broadcast");
    for (uint32_t round = 2; round <= rounds + 1; round++) {
        publish(round);
        wrong += collect(round);
    }
    bench_stop("broadcast", (unsigned long)rounds * (crowd.count - 1));
    check(wrong == 0, "%u rounds of %u numbers, %u were wrong", rounds, crowd.count - 1, wrong);
    publish(rounds + 2); /* nobody leaves before all have read the last number */
    collect(rounds + 2);
    part(monotonic_ns() + wait);
    return checks_failed("broadcast");
}
