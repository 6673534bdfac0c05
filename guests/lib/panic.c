#include "panic.h"

#include <stdarg.h>

#include "arch.h"
#include "console.h"
#include "hypercalls.h"
#include "print.h"
#include "strings.h"

_Noreturn void shutdown(unsigned int reason) {
    struct sched_shutdown argument = {reason};
    irq_disable();
    for (;;)
        hypercall_sched_op(SCHEDOP_shutdown, &argument);
}

_Noreturn void panic(const char *format, ...) {
    char text[256];
    va_list arguments;
    irq_disable();
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("PANIC: %s\n", text);
    shutdown(SHUTDOWN_crash);
}
