/* Hypercalls that nobody means: any number, with arguments that are often nearly right.
 *
 * Command line: seed=1 count=2000
 *
 * Targets: pv64 pv32
 */
#include "attack.h"

static uint64_t state;
static unsigned long scratch[4][512] __attribute__((aligned(4096)));

static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* A page of ours, away from code, data and stacks: the game is over when they go. */
static unsigned long some_page(void) {
    unsigned long pages = start_info->nr_pages;
    return pages / 2 + draw() % (pages / 2);
}

static unsigned long value(void) {
    static const unsigned long odd[] = {~0UL, 0x7FFFFFFF, 0x80000000, 0x7FF0, 0x7FF1, 0x7FF2, 0x7FF4, 0xFFFF, 0x1000,
                                        XEN_SPACE, WILD, 64, 511, 512, 513};
    switch (draw() % 12) {
    case 0:
        return odd[draw() % (sizeof odd / sizeof *odd)];
    case 1:
        return frame_of((void *)(some_page() << PAGE_SHIFT));
    case 2:
        return table_of(draw() % 2 ? window() : some_page() << PAGE_SHIFT);
    case 3:
        return (unsigned long)machine_address(page_entry(some_page() << PAGE_SHIFT)) | draw() % 4;
    case 4:
        return (unsigned long)frame_entry(frame_of((void *)(some_page() << PAGE_SHIFT)), draw() & 0x1E7);
    case 5:
        return window() + draw() % 8 * PAGE_SIZE;
    case 6:
        return (unsigned long)scratch[draw() % 2] + (draw() % 4 ? 0 : draw() % PAGE_SIZE);
    case 7:
        return some_page() << PAGE_SHIFT;
    case 8:
        return (unsigned long)(draw() >> (draw() & 63));
    default:
        return draw() % 20;
    }
}

static bool ends_us(unsigned long number, unsigned long command) {
    switch (number) {
    case 0: /* set_trap_table */
        return true;
    case __HYPERVISOR_update_va_mapping:
    case 22: /* update_va_mapping_otherdomain */
        return command < start_info->nr_pages / 2 * PAGE_SIZE;
    case __HYPERVISOR_sched_op:
    case 6: /* the same, as it was */
        return true;
    case 23: /* iret */
    case 4:  /* set_callbacks */
        return true;
    case __HYPERVISOR_event_channel_op: /* close and reset: the console's port is one of them */
        return command == 3 || command == 10 || command == 14;
    case __HYPERVISOR_vcpu_op:
        return command == 2; /* down */
    case __HYPERVISOR_console_io:
        return true; /* too much to read */
    }
    return false;
}

int main(void) {
    state = arg_number("seed", 1) * 0x9E3779B97F4A7C15u + 1;
    uint64_t count = arg_number("count", 2000);
    unsigned int refused = 0;
    irq_disable();
    for (uint64_t i = 0; i < count; i++) {
        static const uint8_t likely[] = {1, 2, 12, 14, 20, 26, 32, 13, 24, 10, 21, 30, 33};
        unsigned long number = draw() % 3 ? likely[draw() % sizeof likely] : draw() % 64, arguments[5];
        for (unsigned int j = 0; j < 64; j++)
            scratch[0][draw() % 512] = value();
        if (!(draw() % 4))
            for (unsigned int j = 0; j < 16; j++)
                scratch[draw() % 2][j] = value();
        for (unsigned int j = 0; j < 5; j++)
            arguments[j] = value();
        if (draw() % 2)
            arguments[draw() % 2] = (unsigned long)scratch[draw() % 2];
        if (number == __HYPERVISOR_grant_table_op) /* results are written to each element */
            arguments[2] %= 16;
        if (number == 13) /* what is in it is not looked at here */
            arguments[1] %= 2, scratch[0][0] = scratch[1][0] = 1 + draw() % 2;
        if (!ends_us(number, arguments[0]))
            refused += hypercall_raw(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]) < 0;
    }
    printf("fuzz: %lu hypercalls, %u refused\n", (unsigned long)count, refused);
    return 0;
}
