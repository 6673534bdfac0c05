#include "timers.h"

#include "hypercalls.h"

long timer_singleshot(uint64_t deadline, bool future) {
    struct vcpu_set_singleshot_timer op = {.timeout_abs_ns = deadline, .flags = future ? VCPU_SSHOTTMR_future : 0};
    return hypercall_vcpu_op(VCPUOP_set_singleshot_timer, 0, &op);
}

long timer_singleshot_stop(void) {
    return hypercall_vcpu_op(VCPUOP_stop_singleshot_timer, 0, 0);
}

long timer_periodic(uint64_t period_ns) {
    struct vcpu_set_periodic_timer op = {period_ns};
    return hypercall_vcpu_op(VCPUOP_set_periodic_timer, 0, &op);
}

long timer_periodic_stop(void) {
    return hypercall_vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
}

long timer_set(uint64_t deadline) {
    return hypercall_set_timer_op(deadline);
}
