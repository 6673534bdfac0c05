/* Runs bytes that nobody wrote as a PV kernel, and goes on with the next when they have trapped.
 *
 * Command line: seed=1 count=1000 wild=0|1 (1: with registers that point anywhere)
 *
 * Targets: pv64 pv32
 */
#include "attack.h"

#define SIZE 48

static uint64_t state, caught[32], others;
static char *stack;
uintptr_t code, resume_sp, registers[8];
void go_on(void);
void enter_bytes(void);

static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void on_trap(struct trap_frame *frame) {
    if (frame->vector < 32)
        caught[frame->vector]++;
    else
        others++;
    frame->ip = (uintptr_t)go_on;
    frame->flags = FLAG_IF;
#ifdef __i386__
    frame->cs = KERNEL_CS;
#else
    frame->cs = KERNEL_CS & ~3; /* or it would mean a program */
    frame->sp = resume_sp;
    frame->ss = 0xE02B;
#endif
}

#ifdef __i386__
__asm__(".text\nenter_bytes: pushl %ebp; pushl %ebx; pushl %esi; pushl %edi; movl %esp, resume_sp\n"
        "movl registers, %ebx; movl registers + 4, %ecx; movl registers + 8, %edx; movl registers + 12, %esi\n"
        "movl registers + 16, %edi; movl registers + 20, %ebp; movl registers + 24, %eax; jmp *code\n"
        "go_on: movl $0xE021, %eax; movl %eax, %ss; movl resume_sp, %esp; movl %eax, %ds; movl %eax, %es; cld\n"
        "popl %edi; popl %esi; popl %ebx; popl %ebp; ret\n");
#else
__asm__(".text\nenter_bytes: pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
        "movq %rsp, resume_sp; movq registers, %rbx; movq registers + 8, %rcx; movq registers + 16, %rdx\n"
        "movq registers + 24, %rsi; movq registers + 32, %rdi; movq registers + 40, %rbp; movq registers + 48, %rax\n"
        "movq registers + 56, %r10; jmp *code\n"
        "go_on: movq resume_sp, %rsp; cld\n"
        "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret\n");
#endif

int main(void) {
    state = arg_number("seed", 1) * 0x9E3779B97F4A7C15u + 1;
    uint64_t count = arg_number("count", 1000);
    bool wild = arg_number("wild", 0);
    uint8_t *bytes = page_alloc();
    code = (uintptr_t)bytes;
    stack = pages_alloc(2);
    map_va(code, frame_entry(frame_of(bytes), PTE_PRESENT | PTE_WRITABLE));
    for (unsigned int vector = 0; vector < 32; vector++)
        trap_handle(vector, on_trap);
    irq_disable();
    for (uint64_t i = 0; i < count; i++) {
        for (unsigned int at = 0; at < SIZE; at += 8) {
            uint64_t word = draw();
            memcpy(bytes + at, &word, 8);
        }
        memset(bytes + SIZE, 0xCC, 64);
        for (unsigned int j = 0; j < 8; j++)
            registers[j] = wild ? (uintptr_t)(draw() >> (draw() & 63)) : (uintptr_t)stack + (draw() & 0xFF8);
        enter_bytes();
    }
    for (unsigned int vector = 0; vector < 32; vector++)
        if (caught[vector])
            printf("exception %u: %lu\n", vector, (unsigned long)caught[vector]);
    printf("random_pv: done\n");
    return 0;
}
