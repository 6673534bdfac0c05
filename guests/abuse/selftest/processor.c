/* CPUID, MSRs, ports and the time stamp counter. */
#include "selftest.h"

#define EFER 0xC0000080
#define EFER_LMA (1UL << 10)
#define MSR_TSC 0x10
#define MSR_FS_BASE 0xC0000100
#define UNKNOWN_MSR 0x12345678

static void test_cpuid(void) {
    uint32_t base = hypervisor.cpuid_base;
    check(cpuid(1, 0).ecx >> 31, "CPUID says that there is a hypervisor");
    check(cpuid(0x80000001, 0).edx >> 29 & 1, "CPUID says that there is long mode");
    check(cpuid(0x80000001, 0).edx >> 20 & 1, "CPUID says that pages can be NX");
    check(hypervisor.cpuid_last >= base + 4, "Xen's leaves go up to 0x%x", hypervisor.cpuid_last);
    uint32_t version = cpuid(base + 1, 0).eax;
    check(version == (uint32_t)hypercall_xen_version(XENVER_version, 0),
          "leaf 1 agrees with xen_version: 0x%x", version);
    struct cpuid pages = cpuid(base + 2, 0);
    check(pages.eax >= 1, "leaf 2: %u hypercall pages by MSR 0x%x", pages.eax, pages.ebx);
    check(hypervisor.domid != NO_DOMID && hypervisor.domid > 0, "leaf 4: domain %u", hypervisor.domid);
    uint32_t vendor[3] = {cpuid(0, 0).ebx, cpuid(0, 0).edx, cpuid(0, 0).ecx};
    char name[13] = "";
    memcpy(name, vendor, 12);
    printf("processor: %s\n", name);
}

static void test_msrs(void) {
    uint32_t low, high;
    check(msr_read(EFER) & EFER_LMA, "EFER: long mode is active");
    CATCH("rdmsr", "=a"(low), "=d"(high) : "c"(UNKNOWN_MSR));
    check(last_fault.vector == TRAP_GP && !last_fault.error, "RDMSR of an unknown MSR: #GP(%lx)", last_fault.error);
    CATCH("wrmsr", : "c"(UNKNOWN_MSR), "a"(0), "d"(0));
    check(last_fault.vector == TRAP_GP && !last_fault.error, "WRMSR of an unknown MSR: #GP(%lx)", last_fault.error);
    uint64_t before = read_tsc(), by_msr = msr_read(MSR_TSC), after = read_tsc();
    check(before <= by_msr && by_msr <= after, "the TSC is the same by RDTSC and by RDMSR");
    msr_write(MSR_FS_BASE, (uintptr_t)&hypervisor);
    unsigned long through_fs;
    __asm__ volatile("movq %%fs:0, %0" : "=r"(through_fs));
    check(through_fs == *(unsigned long *)&hypervisor && msr_read(MSR_FS_BASE) == (uintptr_t)&hypervisor,
          "the base of FS is what its MSR says");
}

static void test_hypercall_ways(void) {
    long by_page = hypercall_xen_version(XENVER_version, 0);
    long by_instruction = hypercall_raw(__HYPERVISOR_xen_version, XENVER_version, 0, 0, 0, 0);
    check(by_page == by_instruction,
          "a hypercall by the page and by the instruction: %lx, %lx", by_page, by_instruction);
}

void test_processor(void) {
    test_cpuid();
    test_msrs();
    test_hypercall_ways();
    check(port_read8(0x2F8 + 5) == 0xFF, "a port that is not there reads as ones");
    uint32_t low, high;
    CATCH("xgetbv", "=a"(low), "=d"(high) : "c"(0));
    check(last_fault.vector == TRAP_UD, "XGETBV without XSAVE: #UD");
    CATCH("wbinvd", :);
    check(last_fault.vector == NO_TRAP, "WBINVD is harmless");
}
