#include "check.h"

#include <stdarg.h>

#include "print.h"

static unsigned int checks, failures;

bool check(bool ok, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("%s %s\n", ok ? "PASS" : "FAIL", text);
    checks++;
    failures += !ok;
    return ok;
}

int checks_failed(const char *name) {
    printf("%s: %u checks, %u failed\n", name, checks, failures);
    return (int)failures;
}
