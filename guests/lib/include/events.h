/* Event channels, 2-level ABI.  Functions that return int return a port or a negative errno. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define POLL_FOREVER 0

typedef void (*event_handler_t)(uint32_t port, void *context);

void events_init(void);

/* New ports.  They begin masked: fine for polling; event_handle() unmasks. */
int event_alloc_unbound(uint16_t remote);
int event_bind_interdomain(uint16_t remote, uint32_t remote_port);
int event_bind_virq(uint32_t virq);
int event_bind_ipi(void);
int event_close(uint32_t port);

/* Have `handler` called in the upcall, with interrupts off, and unmask the port.  Only ports below 1024. */
void event_handle(uint32_t port, event_handler_t handler, void *context);

int event_notify(uint32_t port);
void event_mask(uint32_t port);
void event_unmask(uint32_t port);
bool event_pending(uint32_t port);
void event_clear(uint32_t port);

/* Wait, without an upcall, until `port` (masked) is pending or until the system time `deadline`.  0 or -errno. */
int event_poll(uint32_t port, uint64_t deadline);

/* What the upcall's entry code calls. */
void events_dispatch(void);

/* How many upcalls there have been, and how many events came to ports without a handler. */
extern uint64_t upcall_count, stray_events;

/* Sleep until `condition` holds; each event's handler may make it true.  Leaves interrupts on. */
#define wait_for(condition)    \
    do {                       \
        irq_disable();         \
        while (!(condition)) { \
            irq_wait();        \
            irq_disable();     \
        }                      \
        irq_enable();          \
    } while (0)
