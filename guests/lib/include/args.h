/* The command line: words of the form name=value, or a bare name. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

void args_init(const char *command_line);

/* The value of `name=value`; "" for a bare `name`; `fallback` where there is neither. */
const char *arg(const char *name, const char *fallback);

/* The same as a number, decimal or 0x...; panics when it is not one. */
uint64_t arg_number(const char *name, uint64_t fallback);

/* Whether `name` has exactly this value. */
bool arg_is(const char *name, const char *value, const char *fallback);

/* The domid that `name` names; panics without one, because there is no sensible default for a peer. */
uint16_t arg_domid(const char *name);
