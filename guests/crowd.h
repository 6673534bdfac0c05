/* Replicas that know each other: the words first= (domid of replica 0), count= and index= of the command line. */
#pragma once
#include "guest.h"

struct crowd {
    uint16_t first;
    unsigned int count, index;
};

static inline struct crowd crowd_from_args(unsigned int least, unsigned int most) {
    struct crowd crowd = {
        .first = arg_domid("first"),
        .count = (unsigned int)arg_number("count", 0),
        .index = (unsigned int)arg_number("index", 0),
    };
    if (crowd.count < least || crowd.count > most)
        panic("count=%u: %u to %u are possible", crowd.count, least, most);
    if (crowd.index >= crowd.count)
        panic("index=%u: there are %u", crowd.index, crowd.count);
    return crowd;
}

/* Replicas have consecutive domids.  `index` may go round the end. */
static inline uint16_t crowd_domid(const struct crowd *crowd, unsigned int index) {
    return (uint16_t)(crowd->first + index % crowd->count);
}
