/* The second processor begins in 32-bit protected mode, tells what it finds, and has no table for its exception. */
#include "guest.h"

static volatile uint32_t told;
static uint32_t stack[64];

extern char entry32[];
__asm__(".text\n"
        ".code32\n"
        "entry32:\n"
        "   pushl %ebx\n"
        "   popl %eax\n"
        "   movl %eax, told32\n"
        "   ud2\n"
        ".code64\n"
        ".bss\n"
        ".globl told32\n"
        ".balign 4\n"
        "told32: .long 0\n"
        ".text\n");
extern volatile uint32_t told32;

int main(void) {
    struct vcpu_hvm_context context = {.mode = VCPU_HVM_MODE_32B};
    context.cpu_regs.x86_32 = (struct vcpu_hvm_x86_32){
        .eip = (uint32_t)(uintptr_t)entry32, .esp = (uint32_t)(uintptr_t)(stack + 64), .ebx = 0x1234, .eflags = 2,
        .cr0 = (uint32_t)arg_number("cr0", 1), .cs_limit = 0xFFFFF, .ds_limit = 0xFFFFF, .ss_limit = 0xFFFFF, .es_limit = 0xFFFFF, .tr_limit = 0x67,
        .cs_ar = 0xC9B, .ds_ar = 0xC93, .ss_ar = 0xC93, .es_ar = 0xC93, .tr_ar = 0x8B};
    printf("initialise: %ld\n", hypercall_vcpu_op(VCPUOP_initialise, 1, &context));
    hypercall_vcpu_op(VCPUOP_up, 1, 0);
    while (!(told = told32))
        cpu_relax();
    printf("told: %x\n", told);
    for (;;)
        cpu_relax();
}
