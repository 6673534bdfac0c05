/* Finding Xen and asking it for the hypercall page. */
#include "xen.h"

#include "pvh64.h"

void xen_init(void) {
    find_xen();
    struct cpuid page = cpuid(hypervisor.cpuid_base + 2, 0);
    msr_write(page.ebx, (uintptr_t)hypercall_page); /* page.eax says how many there are; one is enough for us */
}
