/* Finding Xen by CPUID. */
#include "abi/cpuid.h"
#include "arch.h"
#include "panic.h"
#include "strings.h"
#include "xen.h"

#define LEAF_STEP 0x100 /* other hypervisors' leaves may come first */
#define LEAVES_END 0x40010000

void find_xen(void) {
    for (uint32_t base = XEN_CPUID_FIRST_LEAF; base < LEAVES_END; base += LEAF_STEP) {
        struct cpuid r = cpuid(base, 0);
        if (r.ebx != XEN_CPUID_SIGNATURE_EBX || r.ecx != XEN_CPUID_SIGNATURE_ECX || r.edx != XEN_CPUID_SIGNATURE_EDX)
            continue;
        memcpy(hypervisor.signature, &r.ebx, 12);
        hypervisor.cpuid_base = base;
        hypervisor.cpuid_last = r.eax;
        break;
    }
    if (!hypervisor.cpuid_base)
        panic("this is no Xen domain: CPUID has no leaf with its signature");
    struct cpuid version = cpuid(hypervisor.cpuid_base + 1, 0);
    hypervisor.major = version.eax >> 16;
    hypervisor.minor = version.eax & 0xFFFF;
    if (hypervisor.cpuid_last >= hypervisor.cpuid_base + 4) {
        struct cpuid domain = cpuid(hypervisor.cpuid_base + 4, 0);
        if (domain.eax & XEN_HVM_CPUID_DOMID_PRESENT)
            hypervisor.domid = domain.ecx;
    }
}
