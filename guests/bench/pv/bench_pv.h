/* The parts of bench/pv.  What each test does is the same `count` times over; how is in its name. */
#pragma once
#include "guest.h"
#include "pv.h"

#define MOST_BATCH 512

extern unsigned long count;
extern unsigned int batch;

/* updates.c: each update lets a page of a window show another frame than before. */
void updates_prepare(void);
void update_by_trap(void);      /* a store to the page table, which Xen emulates */
void update_by_hypercall(void); /* update_va_mapping */
void update_and_flush(void);    /* the same, and the old translation is forgotten */
void update_by_batch(void);     /* mmu_update, `batch` of them in one hypercall */
void update_by_multicall(void); /* update_va_mapping, `batch` of them in one multicall */
void updates_verify(void);
void update_and_flush_verify(void);

#ifndef __i386__
/* switch.c: each switch goes to the other of two tasks, which differ in their page tables and their FS base. */
void switch_prepare(void);
void switch_by_trap(void);      /* mov to CR3, mov to CR0, wrmsr; no instruction sets the users' page tables */
void switch_by_hypercall(void); /* mmuext_op twice, fpu_taskswitch, set_segment_base */
void switch_by_batch(void);     /* both page tables in one mmuext_op */
void switch_by_multicall(void); /* all in one */
void switch_verify(void);
#endif
