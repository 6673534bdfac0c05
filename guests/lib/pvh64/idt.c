/* The interrupt descriptor table; its entries lead to vectors.S, and from there to vector_dispatch(). */
#include "events.h"
#include "kind.h"
#include "panic.h"
#include "print.h"
#include "pvh64.h"
#include "traps.h"

#define INTERRUPT_GATE 0x0E00
#define GATE_PRESENT 0x8000
#define ENTRY_SIZE 16

struct gate {
    uint16_t offset_low, selector;
    uint16_t attributes, offset_middle;
    uint32_t offset_high, reserved;
};

static struct gate idt[256] __attribute__((aligned(16)));

extern char vector_entries[];
void vector_dispatch(struct trap_frame *frame);

void idt_set(unsigned int vector, unsigned int dpl, bool present, unsigned int ist) {
    uintptr_t entry = (uintptr_t)vector_entries + vector * ENTRY_SIZE;
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)entry,
        .selector = KERNEL_CS,
        .attributes = (uint16_t)(INTERRUPT_GATE | dpl << 13 | (present ? GATE_PRESENT : 0) | ist),
        .offset_middle = (uint16_t)(entry >> 16),
        .offset_high = (uint32_t)(entry >> 32),
    };
}

void idt_init(void) {
    struct {
        uint16_t limit;
        struct gate *base;
    } __attribute__((packed)) pointer = {sizeof idt - 1, idt};
    for (unsigned int vector = 0; vector < 256; vector++)
        idt_set(vector, 0, true, 0);
    idt_set(TRAP_DF, 0, true, IST_DOUBLE_FAULT);
    idt_set(TRAP_NMI, 0, true, IST_NMI);
    __asm__ volatile("lidt %0" ::"m"(pointer));
}

void vector_dispatch(struct trap_frame *frame) {
    if (frame->vector == UPCALL_VECTOR)
        events_dispatch();
    else
        trap_dispatch(frame);
}

void trap_dump(const struct trap_frame *f) {
    printf("exception %lu error %lx cr2 %lx\n", f->vector, f->error, fault_address());
    printf("rip %04lx:%016lx rsp %04lx:%016lx flags %lx\n", f->cs, f->ip, f->ss, f->sp, f->flags);
    printf("rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->ax, f->bx, f->cx, f->dx);
    printf("rsi %016lx rdi %016lx rbp %016lx r8  %016lx\n", f->si, f->di, f->bp, f->r8);
    printf("r9  %016lx r10 %016lx r11 %016lx r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
    printf("r13 %016lx r14 %016lx r15 %016lx\n", f->r13, f->r14, f->r15);
}
