/* Everything a guest program may use.  Programs define main(); the library boots the domain and calls it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch.h" /* of the guest kind that is being built: guests/lib/<target>/arch.h */
#include "args.h"
#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "console.h"
#include "events.h"
#include "grants.h"
#include "hypercalls.h"
#include "pages.h"
#include "panic.h"
#include "print.h"
#include "rendezvous.h"
#include "strings.h"
#include "timers.h"
#include "traps.h"
#include "xen.h"

/* The program.  0 powers the domain off; anything else shuts it down as crashed. */
int main(void);
