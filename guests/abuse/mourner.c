/* A crowd whose members may be killed at any time: who is left goes on, and finds nothing wrong.
 *
 * Command line: first=<domid of replica 0> count=<replicas, 2 to 8> index=<own, from 0> questions=<100> pause=<0 us>
 *
 * Of each two, the one with the lower index asks and the other answers.  A question is a page granted for it and a port
 * made for it: who answers maps the page, adds up what is in it, unmaps it, binds the port and closes its end.  Who asks
 * then takes the page and the port back, which must work whether the other lives or has died over it.  A peer is dead
 * when the port that leads to it has become unbound; what is mapped of it must still be there.
 */
#include "../crowd.h"

enum mourner_word { QUESTION, REF, PORT, ANSWER, SUM, DONE_ASKER, DONE_ANSWERER };

#define MOST 8
#define MAGIC RENDEZVOUS_MAGIC
#define PATIENCE (50 * MILLISECOND)

struct peer {
    uint16_t domid;
    bool asks, present, gone; /* it asks, and we answer; it has joined or been joined; it is dead */
    uint32_t port, answered, ref;
    struct rendezvous_page *page;
    struct grant_mapping mapping;
};

static struct peer peers[MOST];
static unsigned int count, wrong, lost, stuck, held;
static uint64_t asked;

static bool bound(const struct peer *peer) {
    struct evtchn_status status = {.dom = DOMID_SELF, .port = peer->port};
    return hypercall_event_channel_op(EVTCHNOP_status, &status) == 0 && status.status == EVTCHNSTAT_interdomain;
}

static uint32_t sum_of(const volatile uint32_t *words) {
    uint32_t sum = 0;
    for (unsigned int i = 0; i < PAGE_SIZE / 4; i++)
        sum = sum * 31 + words[i];
    return sum;
}

/* Whatever fails here fails because the asker has died, which shows soon. */
static void answer(uint32_t port, void *context) {
    (void)port;
    struct peer *peer = context;
    uint32_t *words = peer->page->words, question = READ_ONCE(words[QUESTION]);
    if (question == peer->answered)
        return;
    struct grant_mapping mapping;
    if (grant_map(peer->domid, words[REF], question % 2 ? GNTMAP_readonly : 0, &mapping) != GNTST_okay)
        return;
    uint32_t sum = sum_of(mapping.address);
    if (grant_unmap(&mapping) != GNTST_okay)
        wrong++;
    int theirs = event_bind_interdomain(peer->domid, words[PORT]);
    if (theirs >= 0)
        event_close((uint32_t)theirs);
    peer->answered = question;
    WRITE_ONCE(words[SUM], sum);
    barrier();
    WRITE_ONCE(words[ANSWER], question);
    event_notify(peer->port);
}

static void offer(struct peer *peer, unsigned int channel) {
    int port = event_alloc_unbound(peer->domid);
    if (port < 0)
        panic("no port for domain %u: error %d", peer->domid, -port);
    peer->port = (uint32_t)port;
    peer->page = page_alloc();
    peer->page->port = peer->port;
    barrier();
    peer->page->magic = MAGIC;
    peer->ref = FIRST_RENDEZVOUS_REF + channel;
    grant_access_at(peer->ref, peer->domid, peer->page, false);
}

static void join(struct peer *peer, unsigned int channel, uint64_t limit) {
    while (grant_map(peer->domid, FIRST_RENDEZVOUS_REF + channel, 0, &peer->mapping) != GNTST_okay) {
        if (monotonic_ns() >= limit) {
            peer->gone = true;
            return;
        }
        sleep_ns(MILLISECOND);
    }
    peer->page = peer->mapping.address;
    int port = event_bind_interdomain(peer->domid, peer->page->port);
    if (port < 0) { /* it died in between */
        peer->gone = true;
        return;
    }
    peer->port = (uint32_t)port;
    peer->present = true;
    event_handle(peer->port, answer, peer);
    WRITE_ONCE(peer->page->joined, 1);
    event_notify(peer->port);
}

/* Wait for the answer.  False where the peer has died. */
static bool answered(struct peer *peer, uint32_t question) {
    const uint32_t *words = peer->page->words;
    uint64_t limit = monotonic_ns() + 40 * PATIENCE;
    for (;;) {
        event_clear(peer->port);
        if (READ_ONCE(words[ANSWER]) == question)
            return true;
        uint64_t until = monotonic_ns() + PATIENCE;
        while (monotonic_ns() < until && !event_pending(peer->port))
            event_poll(peer->port, until);
        if (event_pending(peer->port))
            continue;
        if (!bound(peer))
            return false;
        if (READ_ONCE(words[ANSWER]) == question) { /* the event comes right after it, or never */
            sleep_ns(5 * MILLISECOND);
            lost += !event_pending(peer->port) && bound(peer);
        } else if (monotonic_ns() > limit) {
            stuck++;
            return false;
        }
    }
}

static void ask(struct peer *peer, uint32_t question) {
    uint32_t *page = page_alloc(), *words = peer->page->words;
    for (unsigned int i = 0; i < PAGE_SIZE / 4; i++)
        page[i] = question * 2654435761U + i * 40503U;
    words[REF] = grant_access(peer->domid, page, question % 2);
    int port = event_alloc_unbound(peer->domid);
    words[PORT] = (uint32_t)port;
    barrier();
    WRITE_ONCE(words[QUESTION], question);
    event_notify(peer->port);
    if (answered(peer, question))
        wrong += words[SUM] != sum_of(page);
    else
        peer->gone = true;
    asked++;
    if (event_close((uint32_t)port) != 0)
        wrong++;
    held += !grant_end(words[REF]);
    page_free(page);
}

static bool all_done(bool asker) {
    for (unsigned int i = 0; i < count; i++) {
        struct peer *peer = &peers[i];
        if (!peer->present || peer->gone || peer->asks != asker)
            continue;
        if (!bound(peer))
            peer->gone = true;
        else if (!READ_ONCE(peer->page->words[asker ? DONE_ASKER : DONE_ANSWERER]))
            return false;
    }
    return true;
}

static void say_done(bool to_askers) {
    for (unsigned int i = 0; i < count; i++)
        if (peers[i].present && peers[i].asks == to_askers)
            WRITE_ONCE(peers[i].page->words[to_askers ? DONE_ANSWERER : DONE_ASKER], 1);
}

static void part(struct peer *peer) {
    if (!peer->page)
        return;
    wrong += peer->page->magic != MAGIC;
    if (peer->asks) {
        if (peer->present)
            event_close(peer->port);
        wrong += grant_unmap(&peer->mapping) != GNTST_okay;
        return;
    }
    for (unsigned int tries = 0; tries < 100 && !grant_revoke(peer->ref); tries++)
        sleep_ns(MILLISECOND);
    held += grant_in_use(peer->ref);
    event_close(peer->port);
}

int main(void) {
    struct crowd crowd = crowd_from_args(2, MOST);
    uint32_t questions = (uint32_t)arg_number("questions", 100);
    uint64_t limit = monotonic_ns() + SECOND, pause = arg_number("pause", 0) * MICROSECOND;
    count = crowd.count;
    for (unsigned int i = 0; i < count; i++) {
        peers[i].domid = crowd_domid(&crowd, i);
        peers[i].asks = i < crowd.index;
        if (i > crowd.index)
            offer(&peers[i], i);
    }
    for (unsigned int i = 0; i < crowd.index; i++)
        join(&peers[i], crowd.index, limit);
    for (unsigned int i = crowd.index + 1; i < count; i++) {
        while (!READ_ONCE(peers[i].page->joined) && monotonic_ns() < limit + SECOND)
            sleep_ns(MILLISECOND);
        peers[i].present = peers[i].page->joined;
    }
    printf("mourner: begins\n");
    for (uint32_t question = 1; question <= questions; question++) {
        for (unsigned int i = crowd.index + 1; i < count; i++)
            if (peers[i].present && !peers[i].gone)
                ask(&peers[i], question);
        if (pause)
            sleep_ns(pause);
    }
    say_done(false);
    while (!all_done(true))
        sleep_ns(MILLISECOND);
    say_done(true);
    while (!all_done(false))
        sleep_ns(MILLISECOND);
    unsigned int mourned = 0;
    for (unsigned int i = 0; i < count; i++) {
        if (i == crowd.index)
            continue;
        mourned += peers[i].gone || !peers[i].present;
        part(&peers[i]);
    }
    check(wrong == 0 && lost == 0 && stuck == 0 && held == 0,
          "%" PRIu64 " questions; %u wrong, %u events lost, %u without end, %u grants held; %u peers gone", asked, wrong,
          lost, stuck, held, mourned);
    return checks_failed("mourner");
}
