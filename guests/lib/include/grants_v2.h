/* Grant tables, version 2: whole pages, parts of pages, and others' grants, which the taker may only copy.
 *
 * A program that uses this does not use the giver's side of grants.h, whose entries are those of version 1, and hence
 * no rendezvous either, unless it joins.  It chooses its references itself.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "abi/grant_table.h"

/* Ask Xen for version 2 and map the table, of 256 references.  All but the reserved ones are lost. */
union grant_entry_v2 *grant_v2_begin(void);

void grant_v2_page(uint32_t ref, uint16_t domain, void *page, bool readonly);
/* `length` bytes from `at` on. */
void grant_v2_part(uint32_t ref, uint16_t domain, void *at, uint16_t length, bool readonly);
/* What `granter` grants us by `theirs`, as far as we may use it. */
void grant_v2_pass_on(uint32_t ref, uint16_t domain, uint16_t granter, uint32_t theirs, bool readonly);

/* GTF_reading and GTF_writing: how it is used now. */
uint16_t grant_v2_use(uint32_t ref);
/* Take it back.  False, and nothing changed, while it is in use. */
bool grant_v2_end(uint32_t ref);

/* Copy `length` bytes by a reference of `domain`'s, between offset `offset` of the page there and one's own `at`.
 * Returns GNTST_okay or what Xen says. */
int grant_copy_from(void *at, uint16_t domain, uint32_t ref, uint16_t offset, uint16_t length);
int grant_copy_to(uint16_t domain, uint32_t ref, uint16_t offset, void *at, uint16_t length);
