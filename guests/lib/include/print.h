/* printf with %c %s %d %i %u %x %X %p %%, lengths l ll z, a width, and the flags 0 and -. */
#pragma once
#include <stdarg.h>
#include <stddef.h>

#define PRIu64 __UINT64_FMTu__
#define PRIx64 __UINT64_FMTx__
#define PRId64 __INT64_FMTd__

/* To the console; at most 511 bytes at a time. */
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int vprintf(const char *format, va_list arguments);

int snprintf(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *buffer, size_t size, const char *format, va_list arguments);
