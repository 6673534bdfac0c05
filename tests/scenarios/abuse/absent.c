/* Memory that is not there: reads give ones, writes go nowhere, and however much of it is touched costs nobody anything.
 *
 * Command line: pages=400
 */
#include "guest.h"
#include "pvh64.h"

#define HOLE 0x80000000UL /* mapped, but this domain has no memory there */
#define STRIDE 0x200000UL /* what one page table covers */

static uint64_t ticks;
static unsigned int traps;

static void on_tick(uint32_t port, void *context) {
    (void)port;
    (void)context;
    ticks++;
    timer_singleshot(monotonic_ns() + 20 * MICROSECOND, false);
}

static void on_debug(struct trap_frame *frame) {
    (void)frame;
    traps++;
}

static void test_values(volatile uint8_t *hole) {
    uint64_t here[4] = {1, 2, 3, 4};
    check(*(volatile uint64_t *)hole == ~0UL && *(volatile uint32_t *)hole == ~0U && hole[7] == 0xFF,
          "absent memory reads as ones");
    *(volatile uint64_t *)hole = 42;
    check(*(volatile uint64_t *)hole == ~0UL, "what is written there is gone");
    unsigned long count = sizeof here;
    volatile void *from = hole + PAGE_SIZE - 8;
    void *to = here;
    __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count)::"memory");
    check(here[0] == ~0UL && here[3] == ~0UL, "a string across two absent pages");
    count = sizeof here;
    from = hole;
    volatile void *into = hole + STRIDE;
    __asm__ volatile("rep movsb" : "+S"(from), "+D"(into), "+c"(count)::"memory");
    check(hole[STRIDE] == 0xFF, "a string from one absent page to another");
    __asm__ volatile("lock; addq $1, %0" : "+m"(*(volatile uint64_t *)hole));
    __asm__ volatile("pushq %0; popq %1" ::"m"(*(volatile uint64_t *)hole), "m"(here[1]) : "memory");
    check(here[1] == ~0UL, "through the stack");
}

static void test_single_steps(volatile uint8_t *hole) {
    uint64_t value;
    trap_handle(TRAP_DB, on_debug);
    __asm__ volatile(
        "pushfq; orl $0x100, (%%rsp); popfq\n\t"
        "movq (%1), %0\n\t"
        "nop\n\t"
        "pushfq; andl $~0x100, (%%rsp); popfq"
        : "=&r"(value)
        : "r"(hole)
        : "memory", "cc");
    trap_handle(TRAP_DB, 0);
    check(value == ~0UL && traps == 5, "single steps across an access: %u traps", traps);
}

static void test_faults(volatile uint8_t *hole) {
    *page_entry(HOLE) &= ~PTE_NX;
    flush_tlb();
    CATCH("jmp *%[hole]", : [hole] "r"(hole));
    check(last_fault.vector == TRAP_GP, "code in absent memory: exception %d", last_fault.vector);
    uint64_t unused;
    CATCH("movq (%[hole]), %[unused]; addq 8(%[hole]), %[unused]; movq (%[unused]), %[unused]",
          [unused] "=&r"(unused) : [hole] "r"(hole));
    check(last_fault.vector != NO_TRAP, "a pointer read there: exception %d", last_fault.vector);
}

/* Interrupts come between the accesses, never with them half done. */
static void test_interrupts(volatile uint8_t *hole) {
    int port = event_bind_virq(VIRQ_TIMER);
    event_handle((uint32_t)port, on_tick, 0);
    timer_singleshot(monotonic_ns(), false);
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < 3000; i++) {
        hole[i] = (uint8_t)i;
        wrong += hole[i] != 0xFF;
    }
    event_mask((uint32_t)port);
    timer_singleshot_stop();
    unsigned long flags = irq_save();
    irq_restore(flags);
    check(wrong == 0 && !(flags & FLAG_TF), "3000 accesses with %s: %u wrong", ticks > 20 ? "interrupts" : "too few", wrong);
}

int main(void) {
    uint64_t pages = arg_number("pages", 400), wrong = 0;
    volatile uint8_t *hole = (volatile uint8_t *)HOLE;
    test_values(hole);
    test_single_steps(hole);
    test_faults(hole);
    test_interrupts(hole);
    for (uint64_t i = 0; i < pages; i++)
        wrong += hole[i * STRIDE % (1UL << 30)] != 0xFF;
    check(wrong == 0, "%lu pages, far from each other: %lu wrong", pages, wrong);
    return checks_failed("absent");
}
