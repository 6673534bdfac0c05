/* The domain's memory by pages. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define PAGE_MASK (~(PAGE_SIZE - 1))

typedef unsigned long frame_t;

/* The allocator owns [start, end) from here on.  Called while the domain boots, by what knows the memory map. */
void pages_init(uintptr_t start, uintptr_t end);

/* A zeroed page, or `count` of them in a row; panics when there is no memory left. */
void *page_alloc(void);
void *pages_alloc(size_t count);
void page_free(void *page);

size_t pages_left(void);

/* The frame number by which Xen knows a page of ours, wherever in it `address` points. */
frame_t frame_of(const volatile void *address);
