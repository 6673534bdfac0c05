/* Checks that a program makes of its surroundings: a line "PASS ..." or "FAIL ..." each. */
#pragma once
#include <stdbool.h>

/* Print whether `ok`, and what was checked.  Returns `ok`. */
bool check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Print "<name>: N checks, M failed" and return M, which is what main() wants to return. */
int checks_failed(const char *name);
