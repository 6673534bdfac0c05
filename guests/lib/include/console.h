/* Where text goes: the console ring, the console_io hypercall or the debug port (console=ring|io|port). */
#pragma once
#include <stddef.h>

void console_init(void);

/* Write to the chosen console.  Waits, yielding, while the ring is full. */
void console_write(const char *text, size_t length);

/* What has been typed, at most `size` bytes; 0 when there is nothing.  Only the ring has input. */
size_t console_read(char *buffer, size_t size);

/* The three ways by name. */
void console_write_ring(const char *text, size_t length);
void console_write_io(const char *text, size_t length);
void console_write_port(const char *text, size_t length);

/* For host-side measurements: one console_io line each, "BENCH start <test>" and "BENCH stop <test> ops=<n>". */
void bench_start(const char *test);
void bench_stop(const char *test, unsigned long operations);
