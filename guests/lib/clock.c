/* The paravirtual clock: Xen publishes a time stamp with the time it stands for; the TSC says what passed since. */
#include "clock.h"

#include "arch.h"
#include "atomic.h"
#include "hypercalls.h"
#include "xen.h"

/* A product of 64 and 32 bits, shifted down by 32, without 128-bit arithmetic. */
static uint64_t scale(uint64_t ticks, uint32_t multiplier, int8_t shift) {
    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    return (ticks >> 32) * multiplier + (((ticks & 0xFFFFFFFF) * multiplier) >> 32);
}

uint64_t ticks_to_ns(uint64_t ticks) {
    return scale(ticks, vcpu_info->time.tsc_to_system_mul, vcpu_info->time.tsc_shift);
}

/* The version is odd while Xen writes; it has changed when Xen wrote while we read. */
uint64_t monotonic_ns(void) {
    const struct vcpu_time_info *time = &vcpu_info->time;
    uint32_t version;
    uint64_t result;
    do {
        version = READ_ONCE(time->version) & ~1U;
        barrier();
        uint64_t ticks = read_tsc() - time->tsc_timestamp;
        result = time->system_time + scale(ticks, time->tsc_to_system_mul, time->tsc_shift);
        barrier();
    } while (version != READ_ONCE(time->version));
    return result;
}

static uint32_t seconds_high(void) {
#ifdef __i386__
    return shared_info->arch.wc_sec_hi;
#else
    return shared_info->wc_sec_hi;
#endif
}

struct wall_time boot_time(void) {
    struct wall_time time;
    uint32_t version;
    do {
        version = READ_ONCE(shared_info->wc_version) & ~1U;
        barrier();
        time.seconds = (uint64_t)seconds_high() << 32 | shared_info->wc_sec;
        time.nanoseconds = shared_info->wc_nsec;
        barrier();
    } while (version != READ_ONCE(shared_info->wc_version));
    return time;
}

struct wall_time wall_clock(void) {
    struct wall_time time = boot_time();
    uint64_t nanoseconds = time.nanoseconds + monotonic_ns();
    time.seconds += nanoseconds / SECOND;
    time.nanoseconds = (uint32_t)(nanoseconds % SECOND);
    return time;
}

void sleep_until(uint64_t deadline) {
    struct sched_poll op = {.timeout = deadline};
    while (monotonic_ns() < deadline) /* an upcall ends the poll early */
        hypercall_sched_op(SCHEDOP_poll, &op);
}

void sleep_ns(uint64_t duration) {
    sleep_until(monotonic_ns() + duration);
}

void spin_ns(uint64_t duration) {
    uint64_t start = monotonic_ns();
    while (monotonic_ns() - start < duration)
        cpu_relax();
}
