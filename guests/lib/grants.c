/* Giving pages away.  Xen does not look at the frame of an entry without flags: the list of free ones goes there. */
#include "grants.h"

#include "atomic.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"

#define ENTRIES_PER_FRAME (PAGE_SIZE / sizeof(struct grant_entry_v1))

static struct grant_entry_v1 *table;
static unsigned int frames;
static uint32_t first_free; /* 0: none */

static bool grow(void) {
    if (frames == MAX_GRANT_FRAMES)
        return false;
    struct grant_entry_v1 *start = kind_map_grant_frames(frames, 1);
    if (!start)
        return false;
    table = start;
    uint32_t low = frames * ENTRIES_PER_FRAME, high = low + ENTRIES_PER_FRAME;
    for (uint32_t ref = high - 1; ref + 1 > low && ref >= FIRST_DYNAMIC_REF; ref--) {
        table[ref].frame = first_free;
        first_free = ref;
    }
    frames++;
    return true;
}

struct grant_entry_v1 *grant_table(void) {
    if (!table && !grow())
        panic("Xen refuses the first grant frame");
    return table;
}

uint32_t grant_table_entries(void) {
    return frames * ENTRIES_PER_FRAME;
}

void grant_access_at(uint32_t ref, uint16_t domain, void *page, bool readonly) {
    struct grant_entry_v1 *entry = &grant_table()[ref];
    entry->frame = (uint32_t)frame_of(page);
    entry->domid = domain;
    barrier(); /* the flags are what makes the entry valid, so they come last */
    WRITE_ONCE(entry->flags, GTF_permit_access | (readonly ? GTF_readonly : 0));
}

uint32_t grant_access(uint16_t domain, void *page, bool readonly) {
    grant_table();
    if (!first_free && !grow())
        panic("no grant reference left");
    uint32_t ref = first_free;
    first_free = table[ref].frame;
    grant_access_at(ref, domain, page, readonly);
    return ref;
}

bool grant_in_use(uint32_t ref) {
    return READ_ONCE(grant_table()[ref].flags) & (GTF_reading | GTF_writing);
}

bool grant_revoke(uint32_t ref) {
    uint16_t *flags = &grant_table()[ref].flags;
    uint16_t seen = READ_ONCE(*flags);
    do {
        if (seen & (GTF_reading | GTF_writing))
            return false;
    } while (!cmpxchg(flags, &seen, GTF_invalid)); /* Xen may begin to use it in between */
    return true;
}

bool grant_end(uint32_t ref) {
    if (!grant_revoke(ref))
        return false;
    table[ref].frame = first_free;
    first_free = ref;
    return true;
}
