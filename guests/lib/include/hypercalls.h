/* Hypercalls by name.  All return what Xen returned: a negative value is an errno. */
#pragma once
#include <stdint.h>

#include "abi/event_channel.h"
#include "abi/grant_table.h"
#include "abi/hvm.h"
#include "abi/memory.h"
#include "abi/sched.h"
#include "abi/vcpu.h"
#include "abi/version.h"
#include "abi/xen.h"
#include "arch.h"

/* hypercall(number, five arguments) and hypercall_raw(), which goes round the hypercall page, are in arch.h. */
#define hypercall0(n) hypercall(n, 0, 0, 0, 0, 0)
#define hypercall1(n, a) hypercall(n, (unsigned long)(a), 0, 0, 0, 0)
#define hypercall2(n, a, b) hypercall(n, (unsigned long)(a), (unsigned long)(b), 0, 0, 0)
#define hypercall3(n, a, b, c) hypercall(n, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), 0, 0)

static inline long hypercall_memory_op(unsigned int command, void *argument) {
    return hypercall2(__HYPERVISOR_memory_op, command, argument);
}

static inline long hypercall_multicall(struct multicall_entry *calls, unsigned int count) {
    return hypercall2(__HYPERVISOR_multicall, calls, count);
}

static inline long hypercall_xen_version(int command, void *argument) {
    return hypercall2(__HYPERVISOR_xen_version, command, argument);
}

static inline long hypercall_console_io(int command, int count, const char *buffer) {
    return hypercall3(__HYPERVISOR_console_io, command, count, buffer);
}

static inline long hypercall_grant_table_op(unsigned int command, void *operations, unsigned int count) {
    return hypercall3(__HYPERVISOR_grant_table_op, command, operations, count);
}

static inline long hypercall_vcpu_op(int command, unsigned int vcpu, void *argument) {
    return hypercall3(__HYPERVISOR_vcpu_op, command, vcpu, argument);
}

static inline long hypercall_sched_op(int command, void *argument) {
    return hypercall2(__HYPERVISOR_sched_op, command, argument);
}

static inline long hypercall_event_channel_op(int command, void *argument) {
    return hypercall2(__HYPERVISOR_event_channel_op, command, argument);
}

static inline long hypercall_hvm_op(int command, void *argument) {
    return hypercall2(__HYPERVISOR_hvm_op, command, argument);
}

/* A 32-bit caller passes the 64-bit time in two registers. */
static inline long hypercall_set_timer_op(uint64_t deadline) {
#ifdef __i386__
    return hypercall2(__HYPERVISOR_set_timer_op, deadline, deadline >> 32);
#else
    return hypercall1(__HYPERVISOR_set_timer_op, deadline);
#endif
}

static inline void sched_yield(void) {
    hypercall_sched_op(SCHEDOP_yield, 0);
}
