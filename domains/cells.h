/* The cells of a sharing group's ranges, as state/cells.py has them: what changed, and for whom.  A cell has 1 to 64
 * bytes, or 0 where its number is free. */
#ifndef DOMUS_CELLS_H
#define DOMUS_CELLS_H
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum { CELL = 64 };

struct cells {
    u8 *buffer;     /* the node's memory */
    u8 *shadow;     /* CELL bytes for each cell: what the others know, or will be told */
    u64 *homes;     /* where in `buffer` each is */
    u64 *versions;  /* the turn of its last change */
    u8 *sizes;
    u8 *whole;      /* not 0: the one who gets the baton has nothing of it */
    u64 count;
};

struct entry { u32 first, count, age; };

/* Neighbouring cells of one version become one entry.  `length` gets the bytes of `data`; the number of entries. */
u64 domus_collect(struct cells *c, u64 since, u64 turn, struct entry *index, u8 *data, u64 *length);
/* Whether pieces fit, and writing those that do. */
int domus_fits(const struct cells *c, const u8 *index, u64 entries, u64 length, u64 turn);
void domus_write(struct cells *c, const u8 *index, u64 entries, const u8 *data, u64 turn);

#endif
