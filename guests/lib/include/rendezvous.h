/* How two guests find each other without xenstore: a page at a grant reference that both know.
 *
 * One offers: it grants a page to its peer at reference 8 + channel and allocates an unbound port, whose number it
 * writes into the page.  The other joins: it knows the peer's domid (from its command line), maps that reference as
 * soon as it is there, and binds the port.  Further references go through the page's `refs`.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "grants.h"

#define RENDEZVOUS_CHANNELS (FIRST_DYNAMIC_REF - FIRST_RENDEZVOUS_REF)
#define RENDEZVOUS_MAGIC 0x756d6f44 /* "Domu" */
#define RENDEZVOUS_REFS 64

enum rendezvous_side { OFFERER, JOINER };

/* Guests of either width read this, so there are only 32-bit words in it. */
struct rendezvous_page {
    uint32_t magic; /* written last by who offers */
    uint32_t port;  /* of who offers */
    uint32_t joined;
    uint32_t phase[2]; /* by side: how many barriers it has reached */
    uint32_t words[11]; /* for the program */
    uint32_t refs[2][RENDEZVOUS_REFS]; /* by side: what it grants to the other */
};

struct rendezvous {
    uint16_t peer;
    enum rendezvous_side side;
    uint32_t port; /* ours, masked: poll it, or give it a handler */
    uint32_t ref;
    struct rendezvous_page *page;
    struct grant_mapping mapping; /* of who joined */
};

/* Both wait for the peer, at most wait=SECONDS of the command line (30), then panic. */
void rendezvous_offer(struct rendezvous *meeting, uint16_t peer, unsigned int channel);
void rendezvous_join(struct rendezvous *meeting, uint16_t peer, unsigned int channel);

/* Part: the joiner unmaps, the offerer waits for that and revokes.  Ports are closed. */
void rendezvous_leave(struct rendezvous *meeting);

/* Neither side goes on before both are here. */
void rendezvous_barrier(struct rendezvous *meeting);

/* Poll our port until *word is at least `value`; false after the time limit. */
bool rendezvous_await(struct rendezvous *meeting, const uint32_t *word, uint32_t value);
