/* What the parts of the native front of a 64-bit PV vCPU share: see front.h. */
#ifndef PV_FRONT_H
#define PV_FRONT_H
#include "front.h"

/* Filled by pv_front.py, in this order. */
struct pv_front {
    struct fast_path f;
    FIELD(void *, python_syscall);    /* the hook of a SYSCALL that is not done here */
    FIELD(void *, python_event);      /* delivers what is pending */
    FIELD(void *, reg_read);
    FIELD(void *, flush_page);
    FIELD(void *, cpu);
    FIELD(const u64 *, fault_address);
    /* vCPUs */
    FIELD(u32 *, vcpu_flags);
    FIELD(u32 *, kernel_cr3);
    FIELD(u32 *, user_cr3);
    FIELD(u16 *, kernel_ss);
    FIELD(u64 *, kernel_sp);
    FIELD(u64 *, syscall_ip);
    FIELD(u8 *, iopl);
    FIELD(u64 *, cr4);
    FIELD(u64 *, spun_at);
    FIELD(u8 *, nmi);
    FIELD(u64 *, trap_address);
    FIELD(u8 *, trap_flags);
    FIELD(u32 *, ldt);
    /* domains */
    FIELD(u64 *, assists);
    FIELD(u32 *, flushes);
    /* frames */
    FIELD(u8 *, type);
    FIELD(u8 *, type_flags);
    FIELD(u32 *, type_count);
    FIELD(u32 *, stamp);
    /* numbers */
    u64 cr2, xen_end, rflags, trap_cycles;
};

enum { KERNEL_MODE = 1, SYSCALL_MASKS = 4, TASK_SWITCHED = 64 };
enum { ARCHITECTURAL_IOPL = 4, M2P_STRICT = 32 };

/* The hypercall of this vCPU's kernel that changes page tables: done, with its result 0, or not the plain case (0). */
int pv_update_va_mapping(void *uc, struct pv_front *p, u64 address, u64 value, u64 flags);
int pv_mmu_update(struct pv_front *p, u64 requests, u64 count, u64 done, u64 owner);
int pv_mmuext_op(void *uc, struct pv_front *p, u64 operations, u64 count, u64 done, u64 owner);

static inline int assists(struct pv_front *p, int kind) {
    return p->assists[p->f.domid] >> kind & 1;
}

#endif
