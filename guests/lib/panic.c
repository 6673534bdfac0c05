#include "panic.h"

#include <stdarg.h>

#include "arch.h"
#include "console.h"
#include "hypercalls.h"
#include "kind.h"
#include "print.h"

_Noreturn void shutdown(unsigned int reason) {
    struct sched_shutdown argument = {reason};
    irq_disable();
    for (;;)
        hypercall_sched_op(SCHEDOP_shutdown, &argument);
}

_Noreturn void panic(const char *format, ...) {
    static bool panicking;
    char text[256];
    va_list arguments;
    irq_disable();
    if (panicking)
        kind_die(); /* the console or the hypercall page is what is broken */
    panicking = true;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("PANIC: %s\n", text);
    shutdown(SHUTDOWN_crash);
}
