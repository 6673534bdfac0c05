/* What a guest says of its surroundings when it starts. */
#pragma once
#include "guest.h"

#define HYPERCALL_GREET 56

/* The argument of the hypercall that configs/hypercalls/greet.py adds.  (Whoever adds another one under this number
 * gets a pointer to this, and may answer in it.) */
struct greet {
    uint32_t length;
    char name[28];
    char answer[64];
};

static inline void show_xen(void) {
    long version = hypercall_xen_version(XENVER_version, 0);
    char extra[XEN_EXTRAVERSION_LEN] = "";
    printf("Xen hypervisor detected: \"%s\" at CPUID leaf 0x%08x\n", hypervisor.signature, hypervisor.cpuid_base);
    if (hypervisor.domid != NO_DOMID)
        printf("this is domain %u\n", hypervisor.domid);
    printf("XEN VERSION: major = %ld : minor = %ld\n", version >> 16, version & 0xFFFF);
    hypercall_xen_version(XENVER_extraversion, extra);
    extra[sizeof extra - 1] = 0;
    printf("XEN EXTRAVERSION: %s\n", extra);
    printf("shared_info mapped at %p\n", (void *)shared_info);
}

static inline void show_time(void) {
    struct wall_time now = wall_clock();
    printf("monotonic clock: %" PRIu64 " ns\n", monotonic_ns());
    printf("wall clock: %" PRIu64 ".%09u s since 1970\n", now.seconds, now.nanoseconds);
}

static inline void call_added_hypercall(const char *name) {
    struct greet greet = {.length = (uint32_t)strlen(name)};
    memcpy(greet.name, name, greet.length < sizeof greet.name ? greet.length : sizeof greet.name);
    long result = hypercall1(HYPERCALL_GREET, &greet);
    greet.answer[sizeof greet.answer - 1] = 0;
    if (result < 0)
        printf("hypercall %d: error %ld%s\n", HYPERCALL_GREET, -result,
               result == -XEN_ENOSYS ? " (nobody added it)" : "");
    else
        printf("hypercall %d: result %ld%s%s\n", HYPERCALL_GREET, result, *greet.answer ? ", " : "", greet.answer);
}

static inline void introduce(const char *name) {
    show_xen();
    show_time();
    call_added_hypercall(name);
}
