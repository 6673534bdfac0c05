/* Event channels: bits in shared_info that Xen sets, and a word above them that says where to look. */
#include "events.h"

#include "arch.h"
#include "atomic.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"
#include "xen.h"

#define MAX_HANDLED 1024

struct binding {
    event_handler_t handler;
    void *context;
};

static struct binding bindings[MAX_HANDLED];
uint64_t upcall_count, stray_events;

void events_init(void) {
    for (unsigned int i = 0; i < EVTCHN_WORDS; i++)
        shared_info->evtchn_mask[i] = ~0UL; /* nothing is asked for yet */
    kind_enable_upcalls();
}

void events_dispatch(void) {
    const unsigned int width = 8 * sizeof(long);
    upcall_count++;
    while (xchg(&vcpu_info->evtchn_upcall_pending, 0)) {
        unsigned long groups = xchg(&vcpu_info->evtchn_pending_sel, 0);
        for (; groups; groups &= groups - 1) {
            unsigned int group = (unsigned int)__builtin_ctzl(groups);
            unsigned long ready;
            while ((ready = READ_ONCE(shared_info->evtchn_pending[group]) &
                            ~READ_ONCE(shared_info->evtchn_mask[group]))) {
                unsigned int port = group * width + (unsigned int)__builtin_ctzl(ready);
                event_clear(port);
                if (port < MAX_HANDLED && bindings[port].handler)
                    bindings[port].handler(port, bindings[port].context);
                else
                    stray_events++;
            }
        }
    }
}

static int new_port(long result, uint32_t port) {
    if (result < 0)
        return (int)result;
    event_clear(port);
    event_mask(port);
    return (int)port;
}

int event_alloc_unbound(uint16_t remote) {
    struct evtchn_alloc_unbound op = {.dom = DOMID_SELF, .remote_dom = remote};
    return new_port(hypercall_event_channel_op(EVTCHNOP_alloc_unbound, &op), op.port);
}

int event_bind_interdomain(uint16_t remote, uint32_t remote_port) {
    struct evtchn_bind_interdomain op = {.remote_dom = remote, .remote_port = remote_port};
    return new_port(hypercall_event_channel_op(EVTCHNOP_bind_interdomain, &op), op.local_port);
}

int event_bind_virq(uint32_t virq) {
    struct evtchn_bind_virq op = {.virq = virq};
    return new_port(hypercall_event_channel_op(EVTCHNOP_bind_virq, &op), op.port);
}

int event_bind_ipi(void) {
    struct evtchn_bind_ipi op = {0};
    return new_port(hypercall_event_channel_op(EVTCHNOP_bind_ipi, &op), op.port);
}

int event_close(uint32_t port) {
    struct evtchn_close op = {port};
    event_mask(port);
    if (port < MAX_HANDLED)
        bindings[port].handler = 0;
    return (int)hypercall_event_channel_op(EVTCHNOP_close, &op);
}

void event_handle(uint32_t port, event_handler_t handler, void *context) {
    if (port >= MAX_HANDLED)
        panic("no handler for port %u: only those below %u have one", port, MAX_HANDLED);
    bindings[port] = (struct binding){handler, context};
    event_unmask(port);
}

int event_notify(uint32_t port) {
    struct evtchn_send op = {port};
    return (int)hypercall_event_channel_op(EVTCHNOP_send, &op);
}

void event_mask(uint32_t port) {
    set_bit(shared_info->evtchn_mask, port);
}

void event_unmask(uint32_t port) {
    struct evtchn_unmask op = {port}; /* by hypercall: what is pending already has to raise the upcall */
    hypercall_event_channel_op(EVTCHNOP_unmask, &op);
}

bool event_pending(uint32_t port) {
    return test_bit(shared_info->evtchn_pending, port);
}

void event_clear(uint32_t port) {
    clear_bit(shared_info->evtchn_pending, port);
}

int event_poll(uint32_t port, uint64_t deadline) {
    struct sched_poll op = {.ports = &port, .nr_ports = 1, .timeout = deadline};
    return (int)hypercall_sched_op(SCHEDOP_poll, &op);
}
