/* Exceptions and upcalls: Xen enters us where we tell it to. */
#include "traps.h"

#include "events.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"
#include "print.h"
#include "pv.h"

#define VECTORS 32
#define ENTRY_SIZE 16
#define MASK_EVENTS 4
#define FROM_RING_3 3

extern char vector_entries[], upcall_entry[], failsafe_entry[];
void vector_dispatch(struct trap_frame *frame);
_Noreturn void pv_failsafe(void);

static void set_callback(uint16_t type, const char *entry) {
    struct callback_register op = {
        .type = type,
#ifdef __i386__
        .address = {KERNEL_CS, (unsigned long)entry},
#else
        .address = (unsigned long)entry,
#endif
    };
    long result = hypercall2(__HYPERVISOR_callback_op, CALLBACKOP_register, &op);
    if (result < 0)
        panic("callback_op for type %u: error %ld", type, -result);
}

void traps_init(void) {
    struct trap_info table[VECTORS + 1] = {0}; /* an entry without an address ends it */
    for (unsigned int vector = 0; vector < VECTORS; vector++)
        table[vector] = (struct trap_info){
            .vector = (uint8_t)vector,
            .flags = MASK_EVENTS | (vector == TRAP_BP || vector == TRAP_OF ? FROM_RING_3 : 0),
            .cs = KERNEL_CS,
            .address = (unsigned long)(vector_entries + vector * ENTRY_SIZE),
        };
    long result = hypercall1(__HYPERVISOR_set_trap_table, table);
    if (result < 0)
        panic("set_trap_table: error %ld", -result);
    set_callback(CALLBACKTYPE_failsafe, failsafe_entry);
}

void kind_enable_upcalls(void) {
    set_callback(CALLBACKTYPE_event, upcall_entry);
}

void vector_dispatch(struct trap_frame *frame) {
    if (frame->vector == UPCALL_VECTOR)
        events_dispatch();
    else
        trap_dispatch(frame);
}

_Noreturn void pv_failsafe(void) {
    panic("the failsafe callback: a segment could not be loaded");
}

void trap_dump(const struct trap_frame *f) {
    printf("exception %lu error %lx cr2 %lx\n", f->vector, f->error, fault_address());
#ifdef __i386__
    printf("eip %04lx:%08lx flags %lx\n", f->cs & 0xFFFF, f->ip, f->flags);
    printf("eax %08lx ebx %08lx ecx %08lx edx %08lx\n", f->ax, f->bx, f->cx, f->dx);
    printf("esi %08lx edi %08lx ebp %08lx\n", f->si, f->di, f->bp);
#else
    printf("rip %04lx:%016lx rsp %04lx:%016lx flags %lx\n", f->cs & 0xFFFF, f->ip, f->ss, f->sp, f->flags);
    printf("rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->ax, f->bx, f->cx, f->dx);
    printf("rsi %016lx rdi %016lx rbp %016lx r8  %016lx\n", f->si, f->di, f->bp, f->r8);
    printf("r9  %016lx r10 %016lx r11 %016lx r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
    printf("r13 %016lx r14 %016lx r15 %016lx\n", f->r13, f->r14, f->r15);
#endif
}

/* A trap that finds no stack: Xen crashes the domain. */
_Noreturn void kind_die(void) {
    __asm__ volatile("xorl %esp, %esp; ud2");
    __builtin_unreachable();
}
