/* Ring 3: gates and their DPL, the TSS's stack, what is forbidden there, SYSCALL and SYSRET. */
#include "selftest.h"

#define GATE 0x82        /* open to ring 3, returns there */
#define RETURN_GATE 0x83 /* open to ring 3, ends the excursion */
#define DENIED_GATE 0x84

#define EFER 0xC0000080
#define EFER_SCE 1
#define MSR_STAR 0xC0000081
#define MSR_LSTAR 0xC0000082
#define MSR_SFMASK 0xC0000084

extern char user_page[], user_gate[], user_denied_gate[], user_hlt[], user_cli[], user_out[], user_read[], user_write[];
extern char user_msr[], user_vmmcall[], user_syscall[], user_after_syscall[], user_undefined[];

uintptr_t kernel_stack;
uint64_t syscall_rip, syscall_flags;

static char ring0_stack[PAGE_SIZE] __attribute__((aligned(16)));
static struct trap_frame seen, gate_frame;
static uintptr_t frame_place;
static char *user_stack;

static void to_kernel(struct trap_frame *frame) {
    seen = *frame;
    frame_place = (uintptr_t)frame;
    frame->ip = (uintptr_t)leave_user;
    frame->cs = KERNEL_CS;
    frame->ss = KERNEL_DS;
    frame->sp = kernel_stack;
    frame->flags &= ~FLAG_IF;
}

static void on_gate(struct trap_frame *frame) {
    gate_frame = *frame;
    frame_place = (uintptr_t)frame;
}

static void run(const char *code, unsigned long argument) {
    unsigned long flags = irq_save();
    memset(&seen, 0, sizeof seen);
    enter_user((uintptr_t)code, (uintptr_t)user_stack + PAGE_SIZE, argument);
    irq_restore(flags);
}

static void expect(const char *what, unsigned long vector, unsigned long error, const char *ip) {
    check(seen.vector == vector && seen.error == error && (seen.cs & 3) == 3 && (!ip || seen.ip == (uintptr_t)ip),
          "ring 3, %s: exception %lu(%lx) at 0x%lx", what, seen.vector, seen.error, seen.ip);
}

static bool on_ring0_stack(void) {
    return frame_place >= (uintptr_t)ring0_stack && frame_place < (uintptr_t)ring0_stack + sizeof ring0_stack;
}

static void test_gates(void) {
    run(user_gate, 0);
    check(gate_frame.vector == GATE && gate_frame.cs == USER_CS && gate_frame.ss == USER_DS &&
              gate_frame.sp == (uintptr_t)user_stack + PAGE_SIZE,
          "INT through a gate for ring 3: cs %lx ss %lx", gate_frame.cs, gate_frame.ss);
    check(seen.vector == RETURN_GATE && on_ring0_stack(), "IRET went back, and the handler's stack is the TSS's");
    run(user_denied_gate, 0);
    expect("INT through a gate of ring 0, #GP", TRAP_GP, DENIED_GATE * 8 + 2, user_denied_gate);
}

static void test_forbidden(void) {
    run(user_hlt, 0);
    expect("HLT, #GP", TRAP_GP, 0, user_hlt);
    run(user_cli, 0);
    expect("CLI, #GP", TRAP_GP, 0, user_cli);
    run(user_out, 0);
    expect("OUT, #GP", TRAP_GP, 0, user_out + 2);
    run(user_msr, 0);
    expect("RDMSR, #GP", TRAP_GP, 0, user_msr + 5);
    run(user_undefined, 0);
    expect("UD2, #UD", TRAP_UD, 0, user_undefined);
    run(user_read, (unsigned long)ring0_stack);
    expect("a read of the kernel's memory, #PF", TRAP_PF, 5, user_read);
    run(user_write, (unsigned long)ring0_stack);
    expect("a write to the kernel's memory, #PF", TRAP_PF, 7, user_write);
    run((const char *)ring0_stack, 0);
    expect("code in the kernel's memory, #PF", TRAP_PF, 0x15, ring0_stack);
    run(user_vmmcall, 0);
    check(seen.vector == RETURN_GATE && (long)seen.ax == -XEN_EPERM, "ring 3, a hypercall: %ld", (long)seen.ax);
}

static void test_syscall(void) {
    msr_write(MSR_STAR, (uint64_t)(USER_CS - 16) << 48 | (uint64_t)KERNEL_CS << 32);
    msr_write(MSR_LSTAR, (uintptr_t)user_syscall_target);
    msr_write(MSR_SFMASK, FLAG_IF);
    msr_write(EFER, msr_read(EFER) | EFER_SCE);
    run(user_syscall, 0);
    check(syscall_rip == (uintptr_t)user_after_syscall && syscall_flags & 2, "SYSCALL: rcx and r11 are the user's");
    check(seen.vector == RETURN_GATE && seen.cs == USER_CS && seen.ss == USER_DS, "SYSRET: cs %lx ss %lx", seen.cs,
          seen.ss);
    msr_write(EFER, msr_read(EFER) & ~(uint64_t)EFER_SCE);
    run(user_syscall, 0);
    expect("SYSCALL without EFER.SCE, #UD", TRAP_UD, 0, user_syscall);
}

void test_ring3(void) {
    static const unsigned int caught[] = {TRAP_UD, TRAP_GP, TRAP_PF, RETURN_GATE};
    user_stack = page_alloc();
    page_allow_user((uintptr_t)user_page);
    page_allow_user((uintptr_t)user_stack);
    set_ring0_stack((uintptr_t)ring0_stack + sizeof ring0_stack);
    idt_set(GATE, 3, true, 0);
    idt_set(RETURN_GATE, 3, true, 0);
    trap_handle(GATE, on_gate);
    for (unsigned int i = 0; i < sizeof caught / sizeof *caught; i++)
        trap_handle(caught[i], to_kernel);
    test_gates();
    test_forbidden();
    test_syscall();
    for (unsigned int i = 0; i < sizeof caught / sizeof *caught; i++)
        trap_handle(caught[i], 0);
}
