/* The page that a guest shares with its console's back end.  Indices run freely; their low bits are the place. */
#pragma once
#include <stdint.h>

struct xencons_interface {
    char in[1024];
    char out[2048];
    uint32_t in_cons, in_prod;
    uint32_t out_cons, out_prod;
};
