/* Runs bytes that nobody wrote, step by step: what the processor makes of them, and on with the next.
 *
 * Command line: seed=1 count=1000 ring=0|3 wild=0|1 (1: with registers that point anywhere) steps=100
 */
#include "guest.h"
#include "pvh64.h"

#define SIZE 64

static uint64_t state, caught[32], steps, most_steps;
static char *stack;
static char ring0_stack[4 * PAGE_SIZE] __attribute__((aligned(4096)));
char *code;
unsigned long resume_sp, resume_ip, entry_cs, entry_ss, entry_sp, entry_flags;

static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void on_trap(struct trap_frame *frame) {
    caught[frame->vector % 32]++;
    if (frame->vector == TRAP_DB && ++steps < most_steps && frame->ip != resume_ip) {
        frame->flags |= FLAG_TF;
        return;
    }
    frame->ip = resume_ip;
    frame->sp = resume_sp;
    frame->cs = KERNEL_CS;
    frame->ss = KERNEL_DS;
    frame->flags = 2;
}

static void run(bool wild) {
    static uint64_t registers[8];
    uint64_t *start = registers;
    for (unsigned int i = 0; i < 8; i++)
        registers[i] = wild ? draw() >> (draw() & 63) : (uintptr_t)stack + (draw() & 0xFF8);
    steps = 0;
    __asm__ volatile(
        "pushq %%rbp; pushq %%rbx\n\t"
        "movq $1f, resume_ip; movq %%rsp, resume_sp\n\t"
        "movq 0(%%rax), %%rbx; movq 8(%%rax), %%rcx; movq 16(%%rax), %%rdx; movq 24(%%rax), %%rdi\n\t"
        "movq 32(%%rax), %%rbp; movq 40(%%rax), %%r8; movq 48(%%rax), %%r9; movq 56(%%rax), %%rsi\n\t"
        "pushq entry_ss; pushq entry_sp; pushq entry_flags; pushq entry_cs; pushq code; iretq\n"
        "1: movl $0x10, %%eax; movl %%eax, %%ds; movl %%eax, %%es; movl %%eax, %%ss; cld\n\t"
        "popq %%rbx; popq %%rbp"
        : "+a"(start)
        :
        : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

int main(void) {
    state = arg_number("seed", 1) * 0x9E3779B97F4A7C15u + 1;
    uint64_t count = arg_number("count", 1000);
    bool user = arg_number("ring", 0) == 3, wild = arg_number("wild", 0);
    most_steps = arg_number("steps", 100);
    code = page_alloc();
    stack = pages_alloc(2);
    *page_entry((uintptr_t)code) &= ~PTE_NX;
    if (user) {
        page_allow_user((uintptr_t)code);
        page_allow_user((uintptr_t)stack);
    }
    flush_tlb();
    set_ring0_stack((uintptr_t)ring0_stack + sizeof ring0_stack);
    entry_cs = user ? USER_CS : KERNEL_CS;
    entry_ss = user ? USER_DS : KERNEL_DS;
    entry_sp = (uintptr_t)stack + PAGE_SIZE;
    entry_flags = 2 | FLAG_TF;
    for (unsigned int vector = 0; vector < 32; vector++)
        trap_handle(vector, on_trap);
    irq_disable();
    for (uint64_t i = 0; i < count; i++) {
        for (unsigned int at = 0; at < SIZE; at += 8) {
            uint64_t word = draw();
            memcpy(code + at, &word, 8);
        }
        memset(code + SIZE, 0xCC, 16);
        run(wild);
    }
    for (unsigned int vector = 0; vector < 32; vector++)
        if (caught[vector])
            printf("exception %u: %lu\n", vector, caught[vector]);
    printf("random_code: done\n");
    return 0;
}
