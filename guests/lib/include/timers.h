/* The vCPU's timers.  Each fires VIRQ_TIMER.  All return 0 or a negative errno. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The vCPU's one-shot timer, at a system time.  `future`: -ETIME instead of firing when that is past. */
long timer_singleshot(uint64_t deadline, bool future);
long timer_singleshot_stop(void);

/* The periodic timer. */
long timer_periodic(uint64_t period_ns);
long timer_periodic_stop(void);

/* The domain's timer of the set_timer_op hypercall, at a system time; 0 stops it. */
long timer_set(uint64_t deadline);
