/* What the course asks of a first kernel: it starts, finds Xen, and uses what Xen gives it. */
#include "guest.h"

#define ADDED_HYPERCALL 56 /* whoever adds one declares it in the configuration: docs/hypercalls.md */

static void show_version(void) {
    long version = hypercall_xen_version(XENVER_version, 0);
    char extra[XEN_EXTRAVERSION_LEN] = "";
    printf("XEN VERSION: major = %ld : minor = %ld\n", version >> 16, version & 0xFFFF);
    long result = hypercall_xen_version(XENVER_extraversion, extra);
    extra[sizeof extra - 1] = 0;
    printf("XEN EXTRAVERSION: %s (%ld)\n", extra, result);
}

static void show_time(void) {
    struct wall_time now = wall_clock();
    uint64_t monotonic = monotonic_ns();
    printf("monotonic clock: %" PRIu64 " ns\n", monotonic);
    printf("wall clock: %" PRIu64 ".%09u s since 1970\n", now.seconds, now.nanoseconds);
}

static void call_added_hypercall(void) {
    long result = hypercall2(ADDED_HYPERCALL, arg_number("a", 20), arg_number("b", 22));
    if (result < 0)
        printf("hypercall %d: error %ld%s\n", ADDED_HYPERCALL, -result,
               result == -XEN_ENOSYS ? " (nobody added it)" : "");
    else
        printf("hypercall %d: result %ld\n", ADDED_HYPERCALL, result);
}

int main(void) {
    printf("control came to the kernel\n");
    printf("Xen hypervisor detected: \"%s\" at CPUID leaf 0x%08x\n", hypervisor.signature, hypervisor.cpuid_base);
    if (hypervisor.domid != NO_DOMID)
        printf("this is domain %u\n", hypervisor.domid);
    show_version();
    printf("shared_info mapped at %p\n", (void *)shared_info);
    show_time();
    sleep_ns(1 * SECOND);
    show_time();
    call_added_hypercall();
    printf("powering off\n");
    return 0;
}
