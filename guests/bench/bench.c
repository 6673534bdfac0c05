/* One operation, many times, between two marker lines.  The host measures how long that took.
 *
 * Command line: test=<name> count=<n>
 */
#include "guest.h"

#define BATCH 32
#define CALLS 64
#define BUFFER_PAGES 64
#define LOOP_INSTRUCTIONS 10

static unsigned long count;

static void null(void) {
    for (unsigned long i = 0; i < count; i++)
        hypercall_xen_version(XENVER_version, 0);
}

static void multicall(void) {
    static struct multicall_entry calls[CALLS];
    for (unsigned int i = 0; i < CALLS; i++)
        calls[i] = (struct multicall_entry){.op = __HYPERVISOR_xen_version, .args = {XENVER_version}};
    for (unsigned long i = 0; i < count; i++)
        hypercall_multicall(calls, CALLS);
}

static volatile unsigned long received;

static void on_event(uint32_t port, void *context) {
    (void)port;
    (void)context;
    received++;
}

static uint32_t self_port;

static void selfevent_prepare(void) {
    self_port = (uint32_t)event_bind_ipi();
    event_handle(self_port, on_event, 0);
}

static void selfevent(void) {
    for (unsigned long i = 0; i < count; i++)
        event_notify(self_port);
    if (received != count)
        panic("%lu of %lu events came", received, count);
}

static void masked_prepare(void) {
    self_port = (uint32_t)event_bind_ipi();
}

static void selfevent_masked(void) {
    for (unsigned long i = 0; i < count; i++) {
        event_notify(self_port);
        event_clear(self_port); /* or the next one would find it pending and do nothing */
    }
}

static void yield(void) {
    for (unsigned long i = 0; i < count; i++)
        sched_yield();
}

/* Grants to ourselves: the same path in the hypervisor, and no second domain in the measurement. */
static struct gnttab_map_grant_ref maps[BATCH];
static struct gnttab_unmap_grant_ref unmaps[BATCH];
static struct gnttab_copy copy_op;

static uint16_t own_domid(void) {
    return hypervisor.domid == NO_DOMID ? arg_domid("self") : (uint16_t)hypervisor.domid;
}

static void grants_prepare(void) {
    uint16_t self = own_domid();
    for (unsigned int i = 0; i < BATCH; i++) {
        uint64_t place = foreign_host_addr(foreign_slot_alloc());
        uint32_t ref = grant_access(self, page_alloc(), false);
        maps[i] = (struct gnttab_map_grant_ref){.host_addr = place, .flags = GNTMAP_host_map, .ref = ref, .dom = self};
        unmaps[i] = (struct gnttab_unmap_grant_ref){.host_addr = place};
    }
}

static void map_and_unmap(unsigned int batch) {
    for (unsigned long done = 0; done < count; done++) {
        hypercall_grant_table_op(GNTTABOP_map_grant_ref, maps, batch);
        for (unsigned int i = 0; i < batch; i++) {
            if (maps[i].status != GNTST_okay)
                panic("map: %s", gntst_name(maps[i].status));
            unmaps[i].handle = maps[i].handle;
        }
        hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, unmaps, batch);
    }
}

static void gnt1(void) {
    map_and_unmap(1);
}

static void gnt32(void) {
    map_and_unmap(BATCH);
}

static void copy_prepare(void) {
    uint16_t self = own_domid();
    uint32_t ref = grant_access(self, page_alloc(), false);
    copy_op = (struct gnttab_copy){
        .source = {.u.ref = ref, .domid = self},
        .dest = {.u.gmfn = frame_of(page_alloc()), .domid = DOMID_SELF},
        .len = PAGE_SIZE,
        .flags = GNTCOPY_source_gref,
    };
}

static void copy(void) {
    for (unsigned long i = 0; i < count; i++) {
        hypercall_grant_table_op(GNTTABOP_copy, &copy_op, 1);
        if (copy_op.status != GNTST_okay)
            panic("copy: %s", gntst_name(copy_op.status));
    }
}

/* Registers only.  An operation is one of the ten instructions. */
static void loop(void) {
    unsigned long rounds = count / LOOP_INSTRUCTIONS, a = 1, b = 2, c = 3;
    __asm__ volatile("1:\tadd %1, %2\n\txor %2, %3\n\tsub %3, %1\n\tadd $5, %1\n\tlea 3(%1), %2\n\tor %3, %2\n\t"
                     "and %1, %3\n\tadd %2, %3\n\tdec %0\n\tjnz 1b"
                     : "+r"(rounds), "+r"(a), "+r"(b), "+r"(c));
}

/* Stores, word by word.  An operation is a byte. */
static void mem(void) {
    volatile unsigned long *buffer = pages_alloc(BUFFER_PAGES);
    const unsigned long words = BUFFER_PAGES * PAGE_SIZE / sizeof *buffer;
    for (unsigned long done = 0; done < count; done += BUFFER_PAGES * PAGE_SIZE)
        for (unsigned long i = 0; i < words; i++)
            buffer[i] = i;
}

static const struct test {
    const char *name;
    void (*prepare)(void);
    void (*run)(void);
} tests[] = {
    {"null", 0, null},
    {"multicall", 0, multicall},
    {"selfevent", selfevent_prepare, selfevent},
    {"selfevent-masked", masked_prepare, selfevent_masked},
    {"yield", 0, yield},
    {"gnt1", grants_prepare, gnt1},
    {"gnt32", grants_prepare, gnt32},
    {"copy", copy_prepare, copy},
    {"loop", 0, loop},
    {"mem", 0, mem},
};

int main(void) {
    const char *name = arg("test", "null");
    count = (unsigned long)arg_number("count", 1000);
    for (unsigned int i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, name))
            continue;
        if (tests[i].prepare)
            tests[i].prepare();
        if (count == 0)
            panic("count=0: nothing to measure");
        bench_start(name);
        tests[i].run();
        bench_stop(name, count);
        return 0;
    }
    panic("there is no test '%s'", name);
}
