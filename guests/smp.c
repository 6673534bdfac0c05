/* Two processors of one domain: the second begins as VCPUOP_initialise says, both count with locked instructions, wait
 * for each other by spinning, and ping each other by event channels and through their local APICs.  Then the second is
 * stopped in all the ways there are, and started once more in real mode, as firmware has it.
 *
 * Command line: count=<100000> rounds=<1000>
 *
 * Targets: pvh64
 */
#include "guest.h"

#define SECOND_VCPU 1
#define UPCALL_OF_SECOND 0x41
#define APIC_PING 0x52
#define PORTS_IN_A_WORD 64 /* whoever takes a word of pending bits takes all: the second's are in one of their own */
#define TICK (1 * MILLISECOND)
#define BARE_TURNS 5
#define REAL_MODE_PAGE 8

#define MSR_APIC_BASE 0x1B
#define APIC_BASE_BSP (1u << 8)
#define EFER 0xC0000080
#define CR0_PE 1
#define APIC_ID 0x802
#define APIC_EOI 0x80B
#define APIC_SVR 0x80F
#define APIC_ICR 0x830
#define SVR_ENABLED 0x1FF
#define ICR_INIT 0x4500
#define ICR_STARTUP 0x4600
#define ICR_OTHERS (3u << 18)

struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

struct table_register gdt_of_first, idt_of_first; /* the second uses the same; read by its entry code */
static char stack[16384] __attribute__((aligned(16)));
static struct vcpu_info second_info __attribute__((aligned(64)));
static uint32_t to_first, to_second, timer_port;
static uint64_t count, rounds;

static volatile uint64_t counter, turn;
static volatile uint64_t pings, pongs, ticks, apic_pings[2];
static volatile uint32_t stage; /* how far the second is */
static struct {
    uint32_t apic_id, initial_apic_id, xen_vcpu_id, topology_id;
    uint64_t apic_base;
} second;

void second_entry(void);
_Noreturn void second_main(void);
__asm__(".text\n"
        "second_entry:\n"
        "   lgdt gdt_of_first\n"
        "   lidt idt_of_first\n"
        "   pushq $0x08\n"
        "   leaq 1f(%rip), %rax\n"
        "   pushq %rax\n"
        "   lretq\n"
        "1: movl $0x10, %eax\n"
        "   movl %eax, %ds\n"
        "   movl %eax, %es\n"
        "   movl %eax, %ss\n"
        "   xorl %ebp, %ebp\n"
        "   call second_main\n"
        "   ud2\n"
        ".pushsection .rodata\n"
        "real_mode:\n"
        "   .code16\n"
        "   movw %cs, %ax\n"
        "   movw %ax, %ds\n"
        "   smsw %bx\n"
        "   movw %ax, 0x100\n"
        "   movw %bx, 0x102\n"
        "   movw %dx, 0x104\n"
        "2: hlt\n"
        "   jmp 2b\n"
        "real_mode_end:\n"
        "   .code64\n"
        ".popsection\n");
extern const char real_mode[], real_mode_end[];

static uint64_t read_cr0(void) {
    uint64_t value;
    __asm__ volatile("movq %%cr0, %0" : "=r"(value));
    return value;
}

static uint64_t read_cr3(void) {
    uint64_t value;
    __asm__ volatile("movq %%cr3, %0" : "=r"(value));
    return value;
}

static uint64_t read_cr4(void) {
    uint64_t value;
    __asm__ volatile("movq %%cr4, %0" : "=r"(value));
    return value;
}

/* -- the second */

static void second_upcall(struct trap_frame *frame) {
    (void)frame;
    while (xchg(&second_info.evtchn_upcall_pending, 0)) {
        xchg(&second_info.evtchn_pending_sel, 0);
        if (event_pending(to_second)) {
            event_clear(to_second);
            pings++;
        }
        if (event_pending(timer_port)) {
            event_clear(timer_port);
            ticks++;
        }
    }
}

static void on_apic_ping(struct trap_frame *frame) {
    (void)frame;
    uint32_t id = (uint32_t)msr_read(APIC_ID);
    msr_write(APIC_EOI, 0);
    apic_pings[id != 0]++;
    if (id != 0)
        msr_write(APIC_ICR, APIC_PING); /* physical, to number 0 */
}

static void count_up(void) {
    for (uint64_t i = 0; i < count; i++)
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
}

static void take_turns(uint64_t mine) {
    for (uint64_t i = 0; i < rounds; i++) {
        while (turn != mine)
            cpu_relax();
        turn = !mine;
    }
    for (uint64_t i = 0; i < BARE_TURNS; i++) { /* without a hint that it waits */
        while (turn != mine)
            barrier();
        turn = !mine;
    }
}

_Noreturn void second_main(void) {
    second.apic_id = (uint32_t)msr_read(APIC_ID);
    second.apic_base = msr_read(MSR_APIC_BASE);
    second.initial_apic_id = cpuid(1, 0).ebx >> 24;
    second.topology_id = cpuid(0xB, 0).edx;
    second.xen_vcpu_id = cpuid(hypervisor.cpuid_base + 4, 0).ebx;
    msr_write(APIC_SVR, SVR_ENABLED);
    stage = 1;
    count_up();
    take_turns(1);
    for (uint64_t i = 1; i <= rounds; i++) {
        wait_for(pings >= i);
        event_notify(to_first);
    }
    struct vcpu_set_singleshot_timer timer = {.timeout_abs_ns = monotonic_ns() + TICK};
    hypercall_vcpu_op(VCPUOP_set_singleshot_timer, SECOND_VCPU, &timer);
    wait_for(ticks);
    wait_for(apic_pings[1] == rounds);
    stage = 2;
    hypercall_vcpu_op(VCPUOP_down, SECOND_VCPU, 0);
    stage = 3;
    irq_disable();
    for (;;)
        __asm__ volatile("hlt"); /* with interrupts off: nothing ends that */
}

/* -- the first */

static void on_pong(uint32_t port, void *context) {
    (void)port;
    (void)context;
    pongs++;
}

static bool is_up(void) {
    return hypercall_vcpu_op(VCPUOP_is_up, SECOND_VCPU, 0) == 1;
}

static uint32_t bound(long result, uint32_t port) {
    if (result < 0)
        panic("binding a port to vCPU %u: error %ld", SECOND_VCPU, -result);
    return port;
}

static void connect(void) {
    struct evtchn_bind_ipi ipi = {.vcpu = SECOND_VCPU};
    do
        to_second = bound(hypercall_event_channel_op(EVTCHNOP_bind_ipi, &ipi), ipi.port);
    while (to_second < PORTS_IN_A_WORD);
    struct evtchn_bind_virq virq = {.virq = VIRQ_TIMER, .vcpu = SECOND_VCPU};
    timer_port = bound(hypercall_event_channel_op(EVTCHNOP_bind_virq, &virq), virq.port);
    to_first = (uint32_t)event_bind_ipi();
    event_handle(to_first, on_pong, 0);
    event_unmask(to_second);
    event_unmask(timer_port);

    struct vcpu_register_vcpu_info place = {
        .mfn = frame_of(&second_info), .offset = (uint32_t)((uintptr_t)&second_info % PAGE_SIZE)};
    check(hypercall_vcpu_op(VCPUOP_register_vcpu_info, SECOND_VCPU, &place) == 0, "the second has a vcpu_info");
    struct xen_hvm_evtchn_upcall_vector vector = {SECOND_VCPU, UPCALL_OF_SECOND};
    check(hypercall_hvm_op(HVMOP_set_evtchn_upcall_vector, &vector) == 0, "and an upcall vector of its own");
    trap_handle(UPCALL_OF_SECOND, second_upcall);
    trap_handle(APIC_PING, on_apic_ping);
    msr_write(APIC_SVR, SVR_ENABLED);
}

static long initialise(struct vcpu_hvm_context *context) {
    return hypercall_vcpu_op(VCPUOP_initialise, SECOND_VCPU, context);
}

static void start(void) {
    __asm__ volatile("sgdt %0; sidt %1" : "=m"(gdt_of_first), "=m"(idt_of_first));
    struct vcpu_hvm_context context = {.mode = VCPU_HVM_MODE_64B};
    context.cpu_regs.x86_64 = (struct vcpu_hvm_x86_64){
        .rip = (uintptr_t)second_entry, .rsp = (uintptr_t)(stack + sizeof stack), .rflags = 2,
        .cr0 = read_cr0(), .cr3 = read_cr3(), .cr4 = read_cr4(), .efer = msr_read(EFER)};
    check(hypercall_vcpu_op(VCPUOP_up, SECOND_VCPU, 0) == -22, "without a state it does not come up (EINVAL)");
    context.pad = 1;
    check(initialise(&context) == -22, "a state has to be right (EINVAL)");
    context.pad = 0;
    check(initialise((void *)8) == -14, "and to be there (EFAULT)");
    check(initialise(&context) == 0, "VCPUOP_initialise");
    check(initialise(&context) == -17, "once (EEXIST)");
    check(!is_up(), "it is down");
    check(hypercall_vcpu_op(VCPUOP_up, SECOND_VCPU, 0) == 0 && is_up(), "and comes up");
}

static void work_together(void) {
    count_up();
    take_turns(0);
    check(counter == 2 * count, "both counted to %" PRIu64, counter);
    check(second.apic_id == 2 && second.initial_apic_id == 2 && second.topology_id == 2 && second.xen_vcpu_id == 1,
          "its numbers: APIC %u, CPUID %u and %u, vCPU %u", second.apic_id, second.initial_apic_id, second.topology_id,
          second.xen_vcpu_id);
    check(!(second.apic_base & APIC_BASE_BSP) && msr_read(MSR_APIC_BASE) & APIC_BASE_BSP, "the first is who boots");
    for (uint64_t i = 1; i <= rounds; i++) {
        event_notify(to_second);
        wait_for(pongs >= i);
    }
    check(pings == rounds && pongs == rounds, "%" PRIu64 " events each way", pings);
    for (uint64_t i = 1; i <= rounds; i++) {
        msr_write(APIC_ICR, ICR_OTHERS | APIC_PING);
        wait_for(apic_pings[0] >= i);
    }
    check(apic_pings[0] == rounds && apic_pings[1] == rounds, "%" PRIu64 " interrupts each way", apic_pings[0]);
    while (is_up())
        sched_yield();
    check(ticks == 1, "its timer came to it");
}

static void stop_and_start(void) {
    volatile uint16_t *said = (volatile uint16_t *)(REAL_MODE_PAGE * PAGE_SIZE + 0x100);
    check(stage == 2, "VCPUOP_down");
    hypercall_vcpu_op(VCPUOP_up, SECOND_VCPU, 0);
    while (is_up())
        sched_yield();
    check(stage == 3, "VCPUOP_up lets it go on; HLT with interrupts off is its end");
    memcpy((void *)(REAL_MODE_PAGE * PAGE_SIZE), real_mode, (size_t)(real_mode_end - real_mode));
    msr_write(APIC_ICR, (uint64_t)second.apic_id << 32 | ICR_STARTUP | REAL_MODE_PAGE);
    check(!is_up(), "a start-up message is for who waits for one");
    msr_write(APIC_ICR, (uint64_t)second.apic_id << 32 | ICR_INIT);
    check(hypercall_vcpu_op(VCPUOP_up, SECOND_VCPU, 0) == -22, "after INIT it has no state");
    msr_write(APIC_ICR, (uint64_t)second.apic_id << 32 | ICR_STARTUP | REAL_MODE_PAGE);
    while (is_up())
        sched_yield();
    check(said[0] == REAL_MODE_PAGE << 8 && !(said[1] & CR0_PE), "it was in real mode, CS %04x", said[0]);
}

int main(void) {
    count = arg_number("count", 100000);
    rounds = arg_number("rounds", 1000);
    connect();
    start();
    work_together();
    stop_and_start();
    return checks_failed("smp");
}
