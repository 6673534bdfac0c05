/* hvm_op: the parameters of a domain that is not paravirtual. */
#pragma once
#include <stdint.h>

#define HVMOP_set_param 0
#define HVMOP_get_param 1

#define HVM_PARAM_CALLBACK_IRQ 0
#define HVM_PARAM_STORE_PFN 1
#define HVM_PARAM_STORE_EVTCHN 2
#define HVM_PARAM_CONSOLE_PFN 17
#define HVM_PARAM_CONSOLE_EVTCHN 18

/* The top byte of CALLBACK_IRQ: events come as an interrupt with the vector in the lowest byte. */
#define HVM_PARAM_CALLBACK_TYPE_VECTOR 2

struct xen_hvm_param {
    uint16_t domid;
    uint16_t pad;
    uint32_t index;
    uint64_t value;
};
