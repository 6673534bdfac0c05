/* A team's baton handed on without the nodes' agents: see lane.py.  A lane is memory that a node's agent and the
 * processes of one team there have in common.  It holds the numbers of the replicas of the team's domains, and the
 * columns of their cells.
 *
 * A message is msgpack of fixed widths, and nothing else is read:
 *   [round, team, process, [[domid, [turn, false, {node: turn}, b"", b"", cells, data], nil]]]
 */
#include "cells.h"

struct lane {
    u64 valid, bank, team, me, nodes, parts, watches;
    u64 numbers, rows, list;  /* where they are: the numbers, twice; struct part; struct watch */
};

struct part { u64 domid, room, count, shadow, homes, versions, sizes, whole; };

/* So many bytes of the node's memory at `offset` have to be those at `expected` of the lane. */
struct watch { u64 offset, length, expected; };

/* Of a part; the turns of all nodes follow.  The bank that is not in use is written, and then taken into use. */
struct numbers { u64 turn, holding, latest, seen[]; };

static struct numbers *numbers_of(struct lane *lane, u64 bank, u64 part) {
    u64 size = (3 + lane->nodes) * sizeof(u64);
    return (struct numbers *)((u8 *)lane + lane->numbers + (bank * lane->parts + part) * size);
}

static struct part *part_of(struct lane *lane, u64 part) {
    return (struct part *)((u8 *)lane + lane->rows) + part;
}

static struct cells cells_of(struct lane *lane, u8 *buffer, const struct part *part) {
    u8 *base = (u8 *)lane;
    return (struct cells){buffer, base + part->shadow, (u64 *)(base + part->homes), (u64 *)(base + part->versions),
                          base + part->sizes, base + part->whole, part->count};
}

/* The numbers as they are, where the next ones are made. */
static u64 other_bank(struct lane *lane) {
    u64 bank = !lane->bank, size = lane->parts * (3 + lane->nodes) * sizeof(u64);
    __builtin_memcpy(numbers_of(lane, bank, 0), numbers_of(lane, !bank, 0), size);
    return bank;
}

static void use_bank(struct lane *lane, u64 bank) {
    __atomic_store_n(&lane->bank, bank, __ATOMIC_SEQ_CST);
}

/* -- msgpack */

static u8 *put(u8 *at, u8 kind, u64 value, int width) {
    *at++ = kind;
    for (int i = width - 1; i >= 0; i--)
        *at++ = (u8)(value >> (8 * i));
    return at;
}

struct reader { const u8 *at, *end; int wrong; };

static u64 get(struct reader *r, u8 kind, int width) {
    u64 value = 0;
    if (r->wrong || r->end - r->at < 1 + width || *r->at != kind) {
        r->wrong = 1;
        return 0;
    }
    r->at++;
    for (int i = 0; i < width; i++)
        value = value << 8 | *r->at++;
    return value;
}

static const u8 *bytes(struct reader *r, u64 *length) {
    *length = get(r, 0xC6, 4);
    if (r->wrong || *length > (u64)(r->end - r->at)) {
        r->wrong = 1;
        return 0;
    }
    r->at += *length;
    return r->at - *length;
}

enum { ARRAY = 0x90, NIL = 0xC0, FALSE = 0xC2, BIN8 = 0xC4, U16 = 0xCD, U32 = 0xCE, U64 = 0xCF, ARRAY16 = 0xDC,
       MAP16 = 0xDE, BIN32 = 0xC6 };

/* -- handing on */

static int is_plain(struct lane *lane, const u8 *buffer, u64 peer) {
    if (!__atomic_load_n(&lane->valid, __ATOMIC_ACQUIRE) || peer >= lane->nodes)
        return 0;
    for (u64 p = 0; p < lane->parts; p++) {
        const struct numbers *n = numbers_of(lane, lane->bank, p);
        if (!n->holding || !n->seen[peer] || n->latest > n->seen[peer])
            return 0;
    }
    const struct watch *watch = (const struct watch *)((u8 *)lane + lane->list);
    for (u64 w = 0; w < lane->watches; w++, watch++)
        if (__builtin_memcmp(buffer + watch->offset, (u8 *)lane + watch->expected, watch->length))
            return 0;
    return 1;
}

/* The length of the message, which `out` of `room` bytes gets; 0 where the agents have to do it.  `index` and `data`
 * have room for all cells of any part. */
u64 domus_lane_collect(struct lane *lane, u8 *buffer, u64 peer, u64 round, u64 process, struct entry *index, u8 *data,
                       u8 *out, u64 room) {
    if (!is_plain(lane, buffer, peer))
        return 0;
    u8 *at = out, *end = out + room;
    u64 overhead = 64 + lane->nodes * 12;
    if (room < overhead)
        return 0;
    at = put(at, ARRAY | 4, 0, 0);
    at = put(at, U64, round, 8);
    at = put(at, U32, lane->team, 4);
    at = put(at, U32, process, 4);
    at = put(at, ARRAY16, lane->parts, 2);
    for (u64 p = 0; p < lane->parts; p++) {
        struct numbers *n = numbers_of(lane, lane->bank, p);
        struct part *part = part_of(lane, p);
        struct cells cells = cells_of(lane, buffer, part);
        u64 length, count = 0, entries = domus_collect(&cells, n->seen[peer], n->turn, index, data, &length);
        u64 size = entries * sizeof(struct entry);
        if ((u64)(end - at) < overhead + size + length)
            return 0;
        for (u64 node = 0; node < lane->nodes; node++)
            count += n->seen[node] || node == lane->me;
        at = put(at, ARRAY | 3, 0, 0);
        at = put(at, U32, part->domid, 4);
        at = put(at, ARRAY | 7, 0, 0);
        at = put(at, U64, n->turn, 8);
        at = put(at, FALSE, 0, 0);
        at = put(at, MAP16, count, 2);
        for (u64 node = 0; node < lane->nodes; node++)
            if (n->seen[node] || node == lane->me) {
                at = put(at, U16, node, 2);
                at = put(at, U64, node == lane->me ? n->turn : n->seen[node], 8);
            }
        at = put(at, BIN8, 0, 1);
        at = put(at, BIN8, 0, 1);
        at = put(at, BIN32, size, 4);
        __builtin_memcpy(at, index, size);
        at = put(at + size, BIN32, length, 4);
        __builtin_memcpy(at, data, length);
        at = put(at + length, NIL, 0, 0);
    }
    u64 bank = other_bank(lane);
    for (u64 p = 0; p < lane->parts; p++) {
        struct numbers *n = numbers_of(lane, bank, p);
        n->seen[lane->me] = n->turn;
        n->holding = 0;
    }
    use_bank(lane, bank);
    return (u64)(at - out);
}

/* -- taking */

struct piece { const u8 *index, *data; u64 entries, turn; };

/* One part's: what to write, and into `next` its numbers.  0 where it does not fit. */
static int read_part(struct reader *r, struct lane *lane, u8 *buffer, u64 p, struct numbers *next, struct piece *piece) {
    const struct numbers *n = numbers_of(lane, lane->bank, p);
    struct part *part = part_of(lane, p);
    struct cells cells = cells_of(lane, buffer, part);
    u64 size, length;
    get(r, ARRAY | 3, 0);
    u64 domid = get(r, U32, 4);
    get(r, ARRAY | 7, 0);
    u64 turn = get(r, U64, 8);
    get(r, FALSE, 0);
    u64 count = get(r, MAP16, 2);
    if (r->wrong || count > lane->nodes)
        return 0;
    for (u64 node = 0; node < lane->nodes; node++)
        next->seen[node] = 0;
    for (u64 i = 0; i < count; i++) {
        u64 node = get(r, U16, 2), seen = get(r, U64, 8);
        if (r->wrong || node >= lane->nodes)
            return 0;
        next->seen[node] = seen;
    }
    u64 first = get(r, BIN8, 1), second = get(r, BIN8, 1);
    piece->index = bytes(r, &size);
    piece->data = bytes(r, &length);
    get(r, NIL, 0);
    if (r->wrong || first || second || size % sizeof(struct entry) || domid != part->domid)
        return 0;
    if (n->holding || turn <= n->turn || turn >> 63 || next->seen[lane->me] != n->turn)
        return 0;
    piece->entries = size / sizeof(struct entry);
    piece->turn = turn;
    next->seen[lane->me] = turn;
    next->turn = turn + 1;
    next->holding = 1;
    return domus_fits(&cells, piece->index, piece->entries, length, turn);
}

/* 1; 0, with nothing written, where the agent has to look at it.  `pieces` has room for one of each part. */
int domus_lane_apply(struct lane *lane, u8 *buffer, u64 round, u64 process, const u8 *message, u64 length,
                     struct piece *pieces) {
    struct reader r = {message, message + length, 0};
    if (!__atomic_load_n(&lane->valid, __ATOMIC_ACQUIRE))
        return 0;
    get(&r, ARRAY | 4, 0);
    if (get(&r, U64, 8) != round || get(&r, U32, 4) != lane->team || get(&r, U32, 4) != process ||
        get(&r, ARRAY16, 2) != lane->parts || r.wrong)
        return 0;
    u64 bank = other_bank(lane);
    for (u64 p = 0; p < lane->parts; p++)
        if (!read_part(&r, lane, buffer, p, numbers_of(lane, bank, p), &pieces[p]))
            return 0;
    if (r.at != r.end)
        return 0;
    for (u64 p = 0; p < lane->parts; p++) {
        struct cells cells = cells_of(lane, buffer, part_of(lane, p));
        domus_write(&cells, pieces[p].index, pieces[p].entries, pieces[p].data, pieces[p].turn);
    }
    use_bank(lane, bank);
    return 1;
}
