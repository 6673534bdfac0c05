/* Xen's paravirtual clock.  Nanoseconds everywhere. */
#pragma once
#include <stdint.h>

#define SECOND ((uint64_t)1000000000)
#define MILLISECOND ((uint64_t)1000000)
#define MICROSECOND ((uint64_t)1000)

struct wall_time {
    uint64_t seconds; /* since 1970 */
    uint32_t nanoseconds;
};

/* Time since the host's boot, from the vCPU's time page and the TSC.  Never goes back. */
uint64_t monotonic_ns(void);

/* How long so many ticks of the TSC take. */
uint64_t ticks_to_ns(uint64_t ticks);

/* When the host booted, by the calendar; and what the calendar says now. */
struct wall_time boot_time(void);
struct wall_time wall_clock(void);

/* Let others run until then (SCHEDOP_poll without ports); events are handled meanwhile. */
void sleep_until(uint64_t deadline);
void sleep_ns(uint64_t duration);

/* Burn the vCPU's own time instead. */
void spin_ns(uint64_t duration);
