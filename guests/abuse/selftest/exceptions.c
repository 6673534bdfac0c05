/* Exceptions through the IDT: vector, error code, CR2, and where they come back to. */
#include "selftest.h"

static const char constant[] = "constant";
static char data[16] __attribute__((aligned(8))) = {(char)0xC3}; /* a RET, for who could execute it */

static void expect(const char *what, int vector, unsigned long error) {
    check(last_fault.vector == vector && last_fault.error == error, "%s: exception %d(%lx)", what, last_fault.vector,
          last_fault.error);
}

static void expect_page_fault(const char *what, unsigned long error, uintptr_t address) {
    check(last_fault.vector == TRAP_PF && last_fault.error == error && last_fault.address == address,
          "%s: exception %d(%lx) at 0x%lx", what, last_fault.vector, last_fault.error, last_fault.address);
}

static void test_faults(void) {
    unsigned long quotient = 1, rest = 0;
    CATCH("divq %[zero]", "+a"(quotient), "+d"(rest) : [zero] "r"(0UL));
    expect("division by zero, #DE", TRAP_DE, 0);
    quotient = 1, rest = 1;
    CATCH("divq %[one]", "+a"(quotient), "+d"(rest) : [one] "r"(1UL));
    expect("a quotient that is too large, #DE", TRAP_DE, 0);
    uintptr_t place;
    CATCH("leaq 1f(%%rip), %[place]\n1:\tud2", [place] "=&r"(place) :);
    expect("UD2, #UD", TRAP_UD, 0);
    check(last_fault.ip == place, "the fault's address is the instruction's");
    probe_read((void *)0x8000000000000000);
    expect("an address that is not canonical, #GP", TRAP_GP, 0);
    CATCH("movl %[selector], %%es", : [selector] "r"(0x1238));
    expect("a selector beyond the GDT, #GP", TRAP_GP, 0x1238);
}

static void test_page_faults(void) {
    probe_read((void *)8);
    expect_page_fault("a read where nothing is mapped, #PF", 0, 8);
    probe_write((void *)8, 0);
    expect_page_fault("a write where nothing is mapped, #PF", 2, 8);
    probe_write((void *)(uintptr_t)constant, 0);
    expect_page_fault("a write to a read-only page, #PF", 3, (uintptr_t)constant);
    probe_write(text_start, 0);
    expect_page_fault("a write to code, #PF", 3, (uintptr_t)text_start);
    CATCH("jmp *%[target]", : [target] "r"(data));
    expect_page_fault("code in a data page, #PF", 0x11, (uintptr_t)data);
    check(last_fault.ip == (uintptr_t)data, "and the fault is at the jump's target");
    CATCH("jmp *%[target]", : [target] "r"(0x7F0000000000UL));
    expect_page_fault("code where nothing is mapped, #PF", 0x10, 0x7F0000000000UL);
    unsigned long value;
    CATCH("movq (%[address]), %[value]", [value] "=r"(value) : [address] "r"(boot_stack_guard - 4));
    expect_page_fault("a read across the end of a mapping, #PF", 0, (uintptr_t)boot_stack_guard);
}

static unsigned int steps;
static struct trap_frame seen;

static void on_debug(struct trap_frame *frame) {
    steps++;
    seen = *frame;
    if (steps == 3)
        frame->flags &= ~FLAG_TF;
}

static void on_trap(struct trap_frame *frame) {
    seen = *frame;
}

static void test_traps(void) {
    uintptr_t after;
    trap_handle(TRAP_BP, on_trap);
    __asm__ volatile("leaq 1f(%%rip), %0; int3; 1:" : "=&r"(after)::"memory");
    check(seen.vector == TRAP_BP && seen.ip == after, "INT3: the handler sees the next instruction");
    __asm__ volatile("leaq 1f(%%rip), %0; .byte 0xCD, 3; 1:" : "=&r"(after)::"memory");
    check(seen.vector == TRAP_BP && seen.ip == after, "INT 3 in two bytes: the same");
    trap_handle(TRAP_BP, 0);
    trap_handle(0x80, on_trap);
    __asm__ volatile("leaq 1f(%%rip), %0; int $0x80; 1:" : "=&r"(after)::"memory");
    check(seen.vector == 0x80 && seen.ip == after && seen.error == 0, "INT 0x80: the same");
    trap_handle(0x80, 0);
    idt_set(0x81, 0, false, 0);
    CATCH("int $0x81", :);
    expect("INT through a gate that is not present, #NP", TRAP_NP, 0x81 * 8 + 2);
    idt_set(0x81, 0, true, 0);
    trap_handle(TRAP_DB, on_debug);
    unsigned long scratch;
    __asm__ volatile("pushfq; orq %1, (%%rsp); popfq; movl $1, %k0; movl $2, %k0; movl $3, %k0; 1: nop"
                     : "=&r"(scratch) : "i"(FLAG_TF) : "memory");
    check(steps == 3, "the trap flag: three steps, %u exceptions", steps);
    trap_handle(TRAP_DB, 0);
}

static void test_task_switched(void) {
    unsigned long cr0;
    __asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("movq %0, %%cr0" ::"r"(cr0 | 1 << 3) : "memory");
    CATCH("fnop", :);
    expect("floating point with CR0.TS, #NM", TRAP_NM, 0);
    __asm__ volatile("clts" ::: "memory");
    CATCH("fnop", :);
    expect("and after CLTS", NO_TRAP, last_fault.error);
}

void test_exceptions(void) {
    test_faults();
    test_page_faults();
    test_traps();
    test_task_switched();
}
