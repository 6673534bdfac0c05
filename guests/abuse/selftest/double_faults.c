/* Exceptions while an exception is delivered: #DF, on its own stack. */
#include "selftest.h"

static uintptr_t good_stack, handler_stack;

extern unsigned long catch_ip;

static void on_double_fault(struct trap_frame *frame) {
    handler_stack = (uintptr_t)frame;
    last_fault = (struct fault){TRAP_DF, frame->error, fault_address(), frame->ip};
    frame->ip = catch_ip; /* a real kernel would end here; the emulated processor says where it was */
    frame->sp = good_stack;
}

static void expect_double_fault(const char *what) {
    bool own_stack = handler_stack < ist_top(IST_DOUBLE_FAULT) && handler_stack >= ist_top(IST_DOUBLE_FAULT) - IST_SIZE;
    check(last_fault.vector == TRAP_DF && last_fault.error == 0 && own_stack,
          "%s: exception %d(%lx), on %s stack", what, last_fault.vector, last_fault.error,
          own_stack ? "its own" : "another");
    handler_stack = 0;
}

void test_double_faults(void) {
    trap_handle(TRAP_DF, on_double_fault);
    idt_set(TRAP_DE, 0, false, 0);
    unsigned long quotient = 1, rest = 0;
    CATCH("movq %%rsp, %[good]\n\tdivq %[zero]", "+a"(quotient), "+d"(rest), [good] "=m"(good_stack) : [zero] "r"(0UL));
    expect_double_fault("#NP in the delivery of #DE, #DF");
    idt_set(TRAP_DE, 0, true, 0);
    CATCH("movq %%rsp, %[good]\n\tmovq %[guard], %%rsp\n\tpushq $0", [good] "=m"(good_stack)
          : [guard] "r"(boot_stack_guard + 64));
    expect_double_fault("the stack is used up: #PF in the delivery of #PF, #DF");
    idt_set(TRAP_PF, 0, false, 0);
    CATCH("movq %%rsp, %[good]\n\tmovb %%al, 8", [good] "=m"(good_stack) :);
    expect_double_fault("#NP in the delivery of #PF, #DF");
    idt_set(TRAP_PF, 0, true, 0);
    trap_handle(TRAP_DF, 0);
}
