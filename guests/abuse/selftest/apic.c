/* The local APIC: interrupts to oneself, their priorities, and its timer. */
#include "selftest.h"

#define MSR_APIC_BASE 0x1B
#define APIC_BASE_X2APIC (3u << 10)
#define APIC_TPR 0x808
#define APIC_PPR 0x80A
#define APIC_EOI 0x80B
#define APIC_SVR 0x80F
#define APIC_IRR 0x820
#define APIC_ESR 0x828
#define APIC_ICR 0x830
#define APIC_LVT_TIMER 0x832
#define APIC_TIMER_INITIAL 0x838
#define APIC_TIMER_CURRENT 0x839
#define APIC_TIMER_DIVIDE 0x83E
#define APIC_SELF_IPI 0x83F
#define SVR_ENABLED 0x100
#define LVT_MASKED (1u << 16)
#define LVT_PERIODIC (1u << 17)
#define DIVIDE_BY_1 0xB
#define COUNTS_A_MS 100000

#define LOW 0x51
#define LOW_TOO 0x52
#define HIGH 0x91
#define UPCALL 1

static volatile unsigned int count;
static unsigned int order[8];

static void came(unsigned int what) {
    order[count++ % 8] = what;
}

static void on_interrupt(struct trap_frame *frame) {
    came((unsigned int)frame->vector);
    msr_write(APIC_EOI, 0);
}

static void on_event(uint32_t port, void *context) {
    (void)port;
    (void)context;
    came(UPCALL);
}

/* What the handler of LOW saw: how many interrupts came inside it, before its EOI and after. */
static unsigned int inside_before, inside_after;

static void on_nested(struct trap_frame *frame) {
    came((unsigned int)frame->vector);
    __asm__ volatile("sti" ::: "memory");
    msr_write(APIC_SELF_IPI, LOW_TOO);
    msr_write(APIC_SELF_IPI, HIGH);
    inside_before = count;
    __asm__ volatile("cli" ::: "memory");
    msr_write(APIC_EOI, 0);
    __asm__ volatile("sti; nop; cli" ::: "memory");
    inside_after = count;
}

static void test_presence(void) {
    check(cpuid(1, 0).edx >> 9 & 1 && cpuid(1, 0).ecx >> 21 & 1 && cpuid(0x80000001, 0).edx >> 9 & 1,
          "CPUID says that there is an APIC with x2APIC mode");
    uint64_t base = msr_read(MSR_APIC_BASE);
    check((base & APIC_BASE_X2APIC) == APIC_BASE_X2APIC, "and it is in that mode: %" PRIx64, base);
    msr_write(APIC_SELF_IPI, LOW);
    check(msr_read(APIC_IRR + LOW / 32) == 0, "switched off by software, it takes nothing");
    uint32_t low, high;
    CATCH("rdmsr", "=a"(low), "=d"(high) : "c"(APIC_EOI));
    check(last_fault.vector == TRAP_GP, "EOI cannot be read: #GP");
    CATCH("wrmsr", : "c"(APIC_EOI), "a"(1), "d"(0));
    check(last_fault.vector == TRAP_GP, "and takes nothing but 0: #GP");
    CATCH("wrmsr", : "c"(APIC_SVR), "a"(0x10000), "d"(0));
    check(last_fault.vector == TRAP_GP, "a reserved bit of SVR: #GP");
}

static void test_order(uint32_t port) {
    irq_disable();
    count = 0;
    msr_write(APIC_SELF_IPI, LOW);
    msr_write(APIC_ICR, 1u << 18 | HIGH);
    check(count == 0 && msr_read(APIC_IRR + LOW / 32) == 1u << LOW % 32, "interrupts are off: both wait");
    __asm__ volatile("sti; nop; cli" ::: "memory");
    check(count == 2 && order[0] == HIGH && order[1] == LOW, "STI, NOP, CLI: %u came, first %x, then %x", count,
          order[0], order[1]);
    count = 0;
    msr_write(APIC_SELF_IPI, HIGH);
    event_notify(port);
    __asm__ volatile("sti; nop; cli" ::: "memory");
    check(count == 2 && order[0] == UPCALL && order[1] == HIGH, "an upcall comes before them: %u, %x, %x", count,
          order[0], order[1]);
    count = 0;
    msr_write(APIC_SELF_IPI, LOW);
    __asm__ volatile("sti; cli" ::: "memory");
    check(count == 0, "STI, CLI: the shadow lets none in, %u", count);
    __asm__ volatile("sti; hlt; cli" ::: "memory");
    check(count == 1, "STI, HLT: %u came, and no sleep", count);
    irq_enable();
    msr_write(APIC_SELF_IPI, HIGH);
    check(count == 2, "interrupts are on: it comes before WRMSR ends");
}

static void test_priorities(void) {
    count = 0;
    msr_write(APIC_TPR, 0x60);
    msr_write(APIC_SELF_IPI, LOW);
    msr_write(APIC_SELF_IPI, HIGH);
    check(count == 1 && order[0] == HIGH && msr_read(APIC_PPR) == 0x60, "task priority 0x60: only the higher, %u", count);
    msr_write(APIC_TPR, 0);
    check(count == 2 && order[1] == LOW, "task priority 0: the lower comes at once, %u", count);
    unsigned long cr8;
    __asm__ volatile("movq %0, %%cr8" ::"r"(6UL));
    register unsigned long r9 __asm__("r9");
    __asm__ volatile("movq %%cr8, %0" : "=r"(r9));
    cr8 = r9;
    check(cr8 == 6 && msr_read(APIC_TPR) == 0x60, "CR8 is its upper half: %lx", cr8);
    count = 0;
    msr_write(APIC_SELF_IPI, LOW);
    __asm__ volatile("movq %0, %%cr8" ::"r"(0UL));
    check(count == 1, "and when it falls, what waited comes: %u", count);
    CATCH("movq %[large], %%cr8", : [large] "r"(0x10UL));
    check(last_fault.vector == TRAP_GP, "it has four bits: #GP");
    trap_handle(LOW, on_nested);
    count = 0;
    msr_write(APIC_SELF_IPI, LOW);
    check(inside_before == 2 && order[1] == HIGH, "in its handler: a higher one only, %u", inside_before);
    check(inside_after == 3 && order[2] == LOW_TOO, "after its EOI: that of its own class too, %u", inside_after);
    trap_handle(LOW, on_interrupt);
    msr_write(APIC_SELF_IPI, 5);
    msr_write(APIC_ESR, 0);
    check(msr_read(APIC_ESR) == 1 << 5, "vector 5 is illegal: error status %" PRIx64, msr_read(APIC_ESR));
}

static void test_timer(void) {
    count = 0;
    msr_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    msr_write(APIC_LVT_TIMER, LOW);
    uint64_t start = monotonic_ns();
    msr_write(APIC_TIMER_INITIAL, 2 * COUNTS_A_MS);
    uint64_t left = msr_read(APIC_TIMER_CURRENT);
    check(left && left <= 2 * COUNTS_A_MS && left > COUNTS_A_MS, "the timer runs");
    wait_for(count);
    uint64_t took = monotonic_ns() - start;
    check(took >= 2 * MILLISECOND && took < 1 * SECOND && msr_read(APIC_TIMER_CURRENT) == 0,
          "HLT until the timer: %" PRIu64 " us of 2000", took / MICROSECOND);
    count = 0;
    start = monotonic_ns();
    msr_write(APIC_LVT_TIMER, LVT_PERIODIC | HIGH);
    msr_write(APIC_TIMER_INITIAL, COUNTS_A_MS);
    wait_for(count >= 3);
    spin_ns(2 * MILLISECOND);
    took = monotonic_ns() - start;
    check(count >= 3 && count <= took / MILLISECOND, "periodic: %u ticks, %" PRIu64 " us", count, took / MICROSECOND);
    msr_write(APIC_LVT_TIMER, LVT_MASKED | HIGH);
    unsigned int ticks = count;
    sleep_ns(3 * MILLISECOND);
    check(count == ticks, "masked: no more");
    msr_write(APIC_TIMER_INITIAL, 0);
}

void test_apic(void) {
    trap_handle(LOW, on_interrupt);
    trap_handle(LOW_TOO, on_interrupt);
    trap_handle(HIGH, on_interrupt);
    uint32_t port = (uint32_t)event_bind_ipi();
    event_handle(port, on_event, 0);
    test_presence();
    msr_write(APIC_SVR, SVR_ENABLED | 0xFF);
    test_order(port);
    test_priorities();
    test_timer();
    msr_write(APIC_SVR, 0xFF);
    event_close(port);
}
