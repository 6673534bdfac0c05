/* What a paravirtual kernel does all day, in the ways in which it can be done: changes of page tables, context switches,
 * privileged instructions, page faults.
 *
 * Targets: pv32 pv64
 * Command line: test=<one of `tests`> count=<1000> batch=<1 to 512, default 512>
 * Output: `BENCH start <test>` and `BENCH stop <test> ops=<count>` by console_io, as bench.c.
 */
#include "bench_pv.h"

unsigned long count;
unsigned int batch;

/* Xen has the value and gives it: the processor refuses, and Xen does the instruction. */
static void emulated(void) {
    unsigned long value;
    for (unsigned long i = 0; i < count; i++)
        __asm__ volatile("mov %%cr0, %0" : "=r"(value));
}

static unsigned long faults;

#define PROBE_LENGTH 2

static void on_page_fault(struct trap_frame *frame) {
    faults++;
    frame->ip += PROBE_LENGTH;
}

/* Reads where nothing is mapped.  Xen bounces the fault, the handler steps over the instruction and returns by iret. */
static void bounce(void) {
    const void *nothing = 0;
    for (unsigned long i = 0; i < count; i++)
        __asm__ volatile("movb (%0), %%al" ::"a"(nothing));
    if (faults != count)
        panic("%lu of %lu page faults came", faults, count);
}

static void bounce_prepare(void) {
    trap_handle(TRAP_PF, on_page_fault);
}

static const struct test {
    const char *name;
    void (*prepare)(void);
    void (*run)(void);
    void (*verify)(void);
} tests[] = {
    {"emulated", 0, emulated, 0},
    {"bounce", bounce_prepare, bounce, 0},
    {"update-flush", updates_prepare, update_and_flush, update_and_flush_verify},
    {"update-trap", updates_prepare, update_by_trap, updates_verify},
    {"update-each", updates_prepare, update_by_hypercall, updates_verify},
    {"update-batch", updates_prepare, update_by_batch, updates_verify},
    {"update-multicall", updates_prepare, update_by_multicall, updates_verify},
#ifndef __i386__
    {"switch-trap", switch_prepare, switch_by_trap, switch_verify},
    {"switch-each", switch_prepare, switch_by_hypercall, switch_verify},
    {"switch-batch", switch_prepare, switch_by_batch, switch_verify},
    {"switch-multicall", switch_prepare, switch_by_multicall, switch_verify},
#endif
};

int main(void) {
    const char *name = arg("test", "bounce");
    count = (unsigned long)arg_number("count", 1000);
    batch = (unsigned int)arg_number("batch", MOST_BATCH);
    if (count == 0 || batch == 0 || batch > MOST_BATCH)
        panic("count=%lu batch=%u: at least 1, and at most %u in a batch", count, batch, MOST_BATCH);
    for (unsigned int i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, name))
            continue;
        if (tests[i].prepare)
            tests[i].prepare();
        bench_start(name);
        tests[i].run();
        bench_stop(name, count);
        if (tests[i].verify)
            tests[i].verify();
        return 0;
    }
    panic("there is no test '%s'", name);
}
