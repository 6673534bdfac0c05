/* Hypercall numbers, error numbers, and the pages that every guest shares with Xen. */
#pragma once
#include <stdint.h>

#define __HYPERVISOR_set_trap_table 0
#define __HYPERVISOR_mmu_update 1
#define __HYPERVISOR_set_gdt 2
#define __HYPERVISOR_stack_switch 3
#define __HYPERVISOR_set_callbacks 4
#define __HYPERVISOR_fpu_taskswitch 5
#define __HYPERVISOR_set_debugreg 8
#define __HYPERVISOR_get_debugreg 9
#define __HYPERVISOR_update_descriptor 10
#define __HYPERVISOR_memory_op 12
#define __HYPERVISOR_multicall 13
#define __HYPERVISOR_update_va_mapping 14
#define __HYPERVISOR_set_timer_op 15
#define __HYPERVISOR_xen_version 17
#define __HYPERVISOR_console_io 18
#define __HYPERVISOR_grant_table_op 20
#define __HYPERVISOR_vm_assist 21
#define __HYPERVISOR_iret 23
#define __HYPERVISOR_vcpu_op 24
#define __HYPERVISOR_set_segment_base 25
#define __HYPERVISOR_mmuext_op 26
#define __HYPERVISOR_sched_op 29
#define __HYPERVISOR_callback_op 30
#define __HYPERVISOR_event_channel_op 32
#define __HYPERVISOR_physdev_op 33
#define __HYPERVISOR_hvm_op 34

#define XEN_EPERM 1
#define XEN_ENOENT 2
#define XEN_ESRCH 3
#define XEN_E2BIG 7
#define XEN_EBADF 9
#define XEN_EAGAIN 11
#define XEN_ENOMEM 12
#define XEN_EACCES 13
#define XEN_EFAULT 14
#define XEN_EBUSY 16
#define XEN_EEXIST 17
#define XEN_EXDEV 18
#define XEN_EINVAL 22
#define XEN_ENOSPC 28
#define XEN_ERANGE 34
#define XEN_ENOSYS 38
#define XEN_EOPNOTSUPP 95

#define DOMID_FIRST_RESERVED 0x7FF0
#define DOMID_SELF 0x7FF0

#define VIRQ_TIMER 0
#define VIRQ_DEBUG 1

#define CONSOLEIO_write 0
#define CONSOLEIO_read 1

#define XEN_LEGACY_MAX_VCPUS 32

struct multicall_entry {
    unsigned long op;
    unsigned long result;
    unsigned long args[6];
};

/* How to turn the TSC into nanoseconds since the host's boot.  Xen makes `version` odd while it writes the rest. */
struct vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};

struct arch_vcpu_info {
    unsigned long cr2;
#ifdef __i386__
    unsigned long pad[5];
#else
    unsigned long pad;
#endif
};

struct vcpu_info {
    uint8_t evtchn_upcall_pending;
    uint8_t evtchn_upcall_mask;
    unsigned long evtchn_pending_sel;
    struct arch_vcpu_info arch;
    struct vcpu_time_info time;
};

struct arch_shared_info {
    unsigned long max_pfn;
    unsigned long pfn_to_mfn_frame_list_list;
    unsigned long nmi_reason;
    unsigned long p2m_cr3;
    unsigned long p2m_vaddr;
    unsigned long p2m_generation;
#ifdef __i386__
    uint32_t wc_sec_hi;
#endif
};

#define EVTCHN_WORDS (8 * sizeof(unsigned long))

struct shared_info {
    struct vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
    unsigned long evtchn_pending[EVTCHN_WORDS];
    unsigned long evtchn_mask[EVTCHN_WORDS];
    uint32_t wc_version;
    uint32_t wc_sec;
    uint32_t wc_nsec;
#ifndef __i386__
    uint32_t wc_sec_hi;
#endif
    struct arch_shared_info arch;
};

_Static_assert(sizeof(struct vcpu_info) == 64, "Xen's vcpu_info has 64 bytes in either width");
_Static_assert(sizeof(struct vcpu_time_info) == 32, "the clock's part of it has 32");
