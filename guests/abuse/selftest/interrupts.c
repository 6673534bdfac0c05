/* When exactly an event's upcall comes: the interrupt flag, its shadow after STI, and HLT. */
#include "selftest.h"

static volatile unsigned int upcalls;
static uint32_t port;

static void on_event(uint32_t which, void *context) {
    (void)which;
    (void)context;
    upcalls++;
}

/* An event is pending and interrupts are off; then `instructions`, which end with interrupts off. */
#define WITH_PENDING_EVENT(instructions)                \
    do {                                                \
        irq_disable();                                  \
        upcalls = 0;                                    \
        event_notify(port);                             \
        __asm__ volatile(instructions ::: "memory");    \
    } while (0)

static void test_window(void) {
    WITH_PENDING_EVENT("nop");
    check(upcalls == 0, "interrupts are off: no upcall");
    __asm__ volatile("sti; nop; cli" ::: "memory");
    check(upcalls == 1, "STI, NOP, CLI: %u upcall between the last two", upcalls);
    WITH_PENDING_EVENT("sti; cli");
    check(upcalls == 0, "STI, CLI: the shadow lets no upcall in, %u", upcalls);
    __asm__ volatile("sti; nop; cli" ::: "memory");
    check(upcalls == 1, "it came afterwards: %u", upcalls);
    WITH_PENDING_EVENT("pushfq; orq $0x200, (%%rsp); popfq; cli");
    check(upcalls == 1, "POPF has no shadow: %u upcall", upcalls);
    WITH_PENDING_EVENT("sti; hlt; cli");
    check(upcalls == 1, "STI, HLT with an event pending: %u upcall, and no sleep", upcalls);
    irq_enable();
    upcalls = 0;
    event_notify(port);
    check(upcalls == 1, "interrupts are on: the upcall comes before the hypercall returns");
}

static void test_masking(void) {
    event_mask(port);
    upcalls = 0;
    event_notify(port);
    check(upcalls == 0 && event_pending(port), "a masked port: pending, no upcall");
    event_unmask(port);
    check(upcalls == 1 && !event_pending(port), "unmasking brings it");
}

static void test_halt(void) {
    uint32_t timer = (uint32_t)event_bind_virq(VIRQ_TIMER);
    event_handle(timer, on_event, 0);
    upcalls = 0;
    uint64_t start = monotonic_ns();
    timer_singleshot(start + 2 * MILLISECOND, false);
    wait_for(upcalls);
    uint64_t took = monotonic_ns() - start;
    check(took >= 2 * MILLISECOND && took < 1 * SECOND,
          "HLT until a timer: %" PRIu64 " us of 2000", took / MICROSECOND);
    event_close(timer);
}

/* The upcall must leave every register and the flags alone. */
static void test_registers(void) {
    unsigned long sum;
    irq_disable();
    event_notify(port);
    __asm__ volatile(
        "movl $1, %%eax; movl $2, %%ebx; movl $4, %%ecx; movl $8, %%edx; movl $16, %%esi; movl $32, %%edi\n\t"
        "movl $64, %%r8d; movl $128, %%r9d; movl $256, %%r10d; movl $512, %%r11d; movl $1024, %%r12d\n\t"
        "movl $2048, %%r13d; movl $4096, %%r14d; movl $8192, %%r15d\n\t"
        "stc; sti; nop; cli; adcq $0, %%rax\n\t"
        "addq %%rbx, %%rax; addq %%rcx, %%rax; addq %%rdx, %%rax; addq %%rsi, %%rax; addq %%rdi, %%rax\n\t"
        "addq %%r8, %%rax; addq %%r9, %%rax; addq %%r10, %%rax; addq %%r11, %%rax; addq %%r12, %%rax\n\t"
        "addq %%r13, %%rax; addq %%r14, %%rax; addq %%r15, %%rax"
        : "=a"(sum)::"rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
    irq_enable();
    check(sum == 16384, "an upcall changes no register and no flag: %lu", sum);
}

void test_interrupts(void) {
    port = (uint32_t)event_bind_ipi();
    event_handle(port, on_event, 0);
    test_window();
    test_masking();
    test_registers();
    test_halt();
    event_close(port);
}
