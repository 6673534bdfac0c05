/* What `writer` and `reader` agree on. */
#pragma once
#include "guest.h"

/* Words of the rendezvous page, written by the writer. */
enum share_word { PAGES, SIGNAL_PORT, REVOKED_REF, FOREIGN_REF };

/* The writer's references: `PAGES` pages to read, then as many to answer in.  The reader's: its own pages. */
#define MAX_PAGES (RENDEZVOUS_REFS / 2)
#define WILD_REF 0x00FFFFFF   /* beyond every grant table */
#define NOBODY 0x7FE0         /* no such domain */

enum share_text { FROM_WRITER = 0x11, TO_ANSWER = 0x22, ANSWER = 0x44, FROM_READER = 0x88 };

/* Each byte of a page depends on who wrote it, on the page's number and on its place. */
static inline uint8_t pattern(enum share_text text, unsigned int page, unsigned int offset) {
    return (uint8_t)(text + page * 37 + offset * 7 + (offset >> 8));
}

static inline void fill_page(void *page, enum share_text text, unsigned int number) {
    volatile uint8_t *bytes = page;
    for (unsigned int i = 0; i < PAGE_SIZE; i++)
        bytes[i] = pattern(text, number, i);
}

/* How many bytes are not as they should be. */
static inline unsigned int wrong_bytes(const void *page, enum share_text text, unsigned int number) {
    const volatile uint8_t *bytes = page;
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < PAGE_SIZE; i++)
        wrong += bytes[i] != pattern(text, number, i);
    return wrong;
}
