/* The page that Xen shares with the domain, and the vCPU's part of it in a place of our own. */
#include "args.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"
#include "xen.h"

struct shared_info *shared_info;
struct vcpu_info *vcpu_info;
struct hypervisor hypervisor = {.domid = NO_DOMID};

/* Aligned to its size: the structure must not cross a page. */
static struct vcpu_info registered __attribute__((aligned(64)));

void shared_info_init(void) {
    shared_info = kind_map_shared_info();
    vcpu_info = &shared_info->vcpu_info[0];
    if (arg_is("vcpu_info", "shared", "own"))
        return;
    struct vcpu_register_vcpu_info place = {
        .mfn = frame_of(&registered),
        .offset = (uint32_t)((uintptr_t)&registered % PAGE_SIZE),
    };
    long result = hypercall_vcpu_op(VCPUOP_register_vcpu_info, 0, &place);
    if (result < 0)
        panic("VCPUOP_register_vcpu_info: error %ld", -result);
    vcpu_info = &registered;
}
