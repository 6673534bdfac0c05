/* Grant tables, version 1: giving pages to other domains, and mapping theirs. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "abi/grant_table.h"

/* References 8 to 31 are for rendezvous (rendezvous.h); what grant_access() hands out comes after them. */
#define FIRST_RENDEZVOUS_REF GNTTAB_NR_RESERVED_ENTRIES
#define FIRST_DYNAMIC_REF 32

/* Giver's side.  The table is set up at the first use. */
struct grant_entry_v1 *grant_table(void);
uint32_t grant_table_entries(void);

/* Let `domain` reach `page`.  Returns the reference; panics when the table cannot grow any more. */
uint32_t grant_access(uint16_t domain, void *page, bool readonly);
void grant_access_at(uint32_t ref, uint16_t domain, void *page, bool readonly);

/* Whether somebody has the page mapped now. */
bool grant_in_use(uint32_t ref);

/* Take the permission back.  False, and nothing changed, while it is in use. */
bool grant_revoke(uint32_t ref);
/* The same and return the reference to the free ones. */
bool grant_end(uint32_t ref);

/* Taker's side. */
struct grant_mapping {
    void *address;
    uint32_t handle;
};

/* GNTMAP_* flags beside host_map: 0 or GNTMAP_readonly.  Returns GNTST_okay or what Xen says. */
int grant_map(uint16_t domain, uint32_t ref, uint32_t flags, struct grant_mapping *mapping);
int grant_unmap(struct grant_mapping *mapping);

/* A page of address space for a foreign frame, and what GNTTABOP_map_grant_ref calls that place. */
void *foreign_slot_alloc(void);
void foreign_slot_free(void *address);
uint64_t foreign_host_addr(const void *slot);

/* The name of a status: "GNTST_bad_gntref". */
const char *gntst_name(int status);
