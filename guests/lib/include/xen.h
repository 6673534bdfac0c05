/* What the library knows of the hypervisor, and the pages it shares with the guest. */
#pragma once
#include <stdint.h>

#include "abi/xen.h"
#include "pages.h"

struct hypervisor {
    char signature[13];
    uint32_t cpuid_base; /* of Xen's leaves */
    uint32_t cpuid_last;
    uint32_t major, minor; /* from CPUID; xen_version has it too */
    uint32_t domid;        /* our own, or NO_DOMID where CPUID does not say */
};
#define NO_DOMID 0xFFFFFFFF

extern struct hypervisor hypervisor;
extern struct shared_info *shared_info;
extern struct vcpu_info *vcpu_info; /* the boot vCPU's: registered in our own page, or the one in shared_info */

/* Map shared_info and register vcpu_info (command line: vcpu_info=shared leaves it where it is). */
void shared_info_init(void);

/* Fill in `hypervisor` from CPUID; panics where Xen is not there.  The kind's entry code calls it. */
void find_xen(void);
