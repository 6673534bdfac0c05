/* What state/cells.py does, in C: see cells.h. */
#include "cells.h"

#define OLDEST 0xFFFFFFFFull

static int differs(const u8 *a, const u8 *b, u64 size) {
    if (size == CELL) {
        u64 x[8], y[8], all = 0;
        __builtin_memcpy(x, a, CELL);
        __builtin_memcpy(y, b, CELL);
        for (int i = 0; i < 8; i++)
            all |= x[i] ^ y[i];
        return all != 0;
    }
    return __builtin_memcmp(a, b, size) != 0;
}

u64 domus_collect(struct cells *c, u64 since, u64 turn, struct entry *index, u8 *data, u64 *length) {
    u64 entries = 0, last = 0, version = 0;
    u8 *end = data;
    for (u64 i = 0; i < c->count; i++) {
        u64 size = c->sizes[i];
        if (!size)
            continue;
        u8 *here = c->buffer + c->homes[i], *shadow = c->shadow + i * CELL;
        if (differs(here, shadow, size)) {
            __builtin_memcpy(shadow, here, size);
            c->versions[i] = turn;
        }
        u64 mine = c->versions[i];
        if (mine <= since && !c->whole[i])
            continue;
        __builtin_memcpy(end, shadow, size);
        end += size;
        if (entries && last + 1 == i && mine == version) {
            index[entries - 1].count++;
        } else {
            u64 age = turn - mine;
            index[entries++] = (struct entry){(u32)i, 1, (u32)(age < OLDEST ? age : OLDEST)};
        }
        last = i;
        version = mine;
    }
    *length = (u64)(end - data);
    return entries;
}

int domus_fits(const struct cells *c, const u8 *index, u64 entries, u64 length, u64 turn) {
    u64 total = 0;
    struct entry piece;
    for (u64 e = 0; e < entries; e++) {
        __builtin_memcpy(&piece, index + e * sizeof piece, sizeof piece);
        if (piece.age > turn || (u64)piece.first + piece.count > c->count)
            return 0;
        for (u64 i = piece.first; i < (u64)piece.first + piece.count; i++) {
            if (!c->sizes[i])
                return 0;
            total += c->sizes[i];
        }
    }
    return total == length;
}

void domus_write(struct cells *c, const u8 *index, u64 entries, const u8 *data, u64 turn) {
    struct entry piece;
    for (u64 e = 0; e < entries; e++) {
        __builtin_memcpy(&piece, index + e * sizeof piece, sizeof piece);
        for (u64 i = piece.first; i < (u64)piece.first + piece.count; i++) {
            u64 size = c->sizes[i];
            __builtin_memcpy(c->buffer + c->homes[i], data, size);
            __builtin_memcpy(c->shadow + i * CELL, data, size);
            c->versions[i] = turn - piece.age;
            data += size;
        }
    }
}

/* 1; 0, with nothing written, where the pieces do not fit. */
int domus_apply(struct cells *c, const u8 *index, u64 entries, const u8 *data, u64 length, u64 turn) {
    if (!domus_fits(c, index, entries, length, turn))
        return 0;
    domus_write(c, index, entries, data, turn);
    return 1;
}

/* A range: its cells begin at `first`; its bytes as they are now are what is known. */
void domus_add(struct cells *c, u64 first, u64 offset, u64 length) {
    for (u64 at = 0; at < length; at += CELL, first++) {
        u64 size = length - at < CELL ? length - at : CELL;
        c->homes[first] = offset + at;
        c->sizes[first] = (u8)size;
        c->versions[first] = 0;
        c->whole[first] = 0;
        __builtin_memcpy(c->shadow + first * CELL, c->buffer + offset + at, size);
    }
}
