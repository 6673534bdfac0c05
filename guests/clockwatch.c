/* Watches the clock: does it go back, do timers fire on time, does it agree with the TSC?
 *
 * Command line: reads=<100000> timers=<20> limit=<the lateness in microseconds that is still on time, 1000>
 */
#include "guest.h"

#define MAX_TIMERS 256

static uint64_t fired_at[MAX_TIMERS];
static volatile unsigned int fired;

static void on_timer(uint32_t port, void *context) {
    (void)port;
    (void)context;
    if (fired < MAX_TIMERS)
        fired_at[fired] = monotonic_ns();
    fired++;
}

static void watch_reads(unsigned int reads) {
    uint64_t first = monotonic_ns(), last = first, smallest = ~0ULL, largest = 0;
    unsigned int backwards = 0;
    for (unsigned int i = 0; i < reads; i++) {
        uint64_t now = monotonic_ns(), step = now - last;
        backwards += now < last;
        smallest = step < smallest ? step : smallest;
        largest = step > largest ? step : largest;
        last = now;
    }
    check(backwards == 0, "%u reads of the clock, %u went back", reads, backwards);
    printf("a read takes %" PRIu64 " to %" PRIu64 " ns, %" PRIu64 " on average\n", smallest, largest,
           reads ? (last - first) / reads : 0);
}

struct lateness {
    uint64_t largest, sum;
    unsigned int early;
};

static void add_lateness(struct lateness *late, uint64_t due, uint64_t fired_time) {
    late->early += fired_time < due;
    uint64_t by = fired_time < due ? due - fired_time : fired_time - due;
    late->sum += by;
    late->largest = by > late->largest ? by : late->largest;
}

static void report(const char *name, const struct lateness *late, unsigned int count, uint64_t limit) {
    check(late->early == 0 && late->largest <= limit,
          "%s: %u firings, %u early, at most %" PRIu64 " ns late, mean %" PRIu64, name, count, late->early,
          late->largest, count ? late->sum / count : 0);
}

static void watch_singleshot(const char *name, unsigned int count, uint64_t limit, bool domain_timer) {
    struct lateness late = {0};
    for (unsigned int i = 0; i < count; i++) {
        fired = 0;
        uint64_t due = monotonic_ns() + (1 + i % 7) * MILLISECOND;
        long result = domain_timer ? timer_set(due) : timer_singleshot(due, false);
        if (!result)
            wait_for(fired);
        add_lateness(&late, due, fired_at[0]);
    }
    report(name, &late, count, limit);
}

/* Xen stops the periodic timer while the vCPU is blocked, so this part keeps it busy. */
static void watch_periodic(unsigned int count, uint64_t limit) {
    const uint64_t period = 1 * MILLISECOND;
    struct lateness late = {0};
    fired = 0;
    check(timer_periodic(period) == 0, "a period of 1 ms is accepted");
    while (fired <= count)
        ;
    timer_periodic_stop();
    for (unsigned int i = 1; i <= count; i++) { /* the handler's own delay makes an interval shorter or longer */
        uint64_t interval = fired_at[i] - fired_at[i - 1];
        uint64_t by = interval < period ? period - interval : interval - period;
        late.early += interval + limit < period;
        late.sum += by;
        late.largest = by > late.largest ? by : late.largest;
    }
    report("periodic timer", &late, count, limit);
}

/* Over a second: nanoseconds by the page's multiplier against the calendar's, and against the TSC scaled at once. */
static void watch_drift(void) {
    uint64_t tsc = read_tsc(), start = monotonic_ns();
    struct wall_time wall = wall_clock();
    sleep_ns(1 * SECOND);
    uint64_t by_tsc = ticks_to_ns(read_tsc() - tsc), by_clock = monotonic_ns() - start;
    struct wall_time later = wall_clock();
    uint64_t by_wall = (later.seconds - wall.seconds) * SECOND + later.nanoseconds - wall.nanoseconds;
    printf("a second: %" PRIu64 " ns by the clock, %" PRIu64 " by the TSC, %" PRIu64 " by the calendar\n", by_clock,
           by_tsc, by_wall);
    int64_t drift = (int64_t)(by_wall - by_clock);
    check(drift > -(int64_t)MILLISECOND && drift < (int64_t)MILLISECOND, "drift of clock and calendar: %" PRId64 " ns",
          drift);
}

int main(void) {
    unsigned int timers = (unsigned int)arg_number("timers", 20);
    uint64_t limit = arg_number("limit", 1000) * MICROSECOND;
    if (timers >= MAX_TIMERS)
        panic("timers=%u: at most %u", timers, MAX_TIMERS - 1);
    int port = event_bind_virq(VIRQ_TIMER);
    if (port < 0)
        panic("VIRQ_TIMER: error %d", -port);
    event_handle((uint32_t)port, on_timer, 0);
    watch_reads((unsigned int)arg_number("reads", 100000));
    watch_singleshot("singleshot timer", timers, limit, false);
    watch_singleshot("set_timer_op", timers, limit, true);
    check(timer_singleshot(1, true) == -62, "a timer for the past with VCPU_SSHOTTMR_future is refused"); /* -ETIME */
    watch_periodic(timers, limit);
    watch_drift();
    return checks_failed("clockwatch");
}
