/* What each guest kind (guests/lib/<target>/) provides to the rest of the library. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "abi/console.h"
#include "abi/grant_table.h"
#include "abi/xen.h"
#include "pages.h"

#define FOREIGN_SLOTS 1024
#define MAX_GRANT_FRAMES 64
#define MAX_STATUS_FRAMES 8

/* shared_info, somewhere in our address space. */
struct shared_info *kind_map_shared_info(void);

/* Grant frames `first` to `first + count - 1`; all that were ever mapped lie in a row.  Null when Xen refuses. */
struct grant_entry_v1 *kind_map_grant_frames(unsigned int first, unsigned int count);

/* The same for status frames, once the table has version 2. */
uint16_t *kind_map_status_frames(unsigned int first, unsigned int count);

/* The first of FOREIGN_SLOTS pages of address space that nothing else uses. */
void *kind_foreign_area(void);

/* The console's ring and our port of it.  False when the domain has none. */
bool kind_console(struct xencons_interface **ring, uint32_t *port);

/* Have Xen call us when an event is pending. */
void kind_enable_upcalls(void);

/* End without any help: no hypercall, no console. */
_Noreturn void kind_die(void);

/* The kind's entry code comes here on the boot stack with hypercalls, traps and pages working. */
_Noreturn void guest_main(const char *command_line);
