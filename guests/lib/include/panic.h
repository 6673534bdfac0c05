/* How a domain ends. */
#pragma once

/* Tell Xen to shut the domain down for a SHUTDOWN_* reason. */
_Noreturn void shutdown(unsigned int reason);

/* Print the reason and crash the domain. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
