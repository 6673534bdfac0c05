/* The parts of the self-test.  Each prints its own PASS and FAIL lines. */
#pragma once
#include "guest.h"
#include "pvh64.h"

void test_library(void);
void test_processor(void);
void test_exceptions(void);
void test_double_faults(void);
void test_interrupts(void);
void test_apic(void);
void test_ring3(void);

extern char text_start[], boot_stack_guard[];

/* ring3.S: run `entry` in ring 3 on `stack` with RDI = argument, until something calls for leave_user. */
void enter_user(uintptr_t entry, uintptr_t stack, unsigned long argument);
extern char leave_user[], user_syscall_target[], user_return[];
extern uintptr_t kernel_stack; /* to give back to RSP at leave_user */
extern uint64_t syscall_rip, syscall_flags;
