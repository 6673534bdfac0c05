/* Which memory is ours, and where none is. */
#include "kind.h"
#include "panic.h"
#include "pvh64.h"
#include "strings.h"

#define HOLE_ALIGNMENT (2UL << 20)
#define HOLE_LIMIT 0xF0000000UL /* firmware and the builder's special pages live above */
#define HOLE_SIZE (HOLE_ALIGNMENT + FOREIGN_SLOTS * PAGE_SIZE)

uintptr_t hole_start;
extern char kernel_end[];

static uintptr_t larger(uintptr_t a, uintptr_t b) {
    return a > b ? a : b;
}

/* The end of what the builder put there, if that lies in [start, end): it is beyond what may be given away. */
static uintptr_t behind(uintptr_t free, uintptr_t end, uint64_t place, uint64_t size) {
    return place < end && place + size > free ? (uintptr_t)(place + size) : free;
}

/* The kernel's own range of memory, from behind the kernel, the modules and start_info to its end. */
static void give_pages(const struct hvm_start_info *info, uintptr_t start, uintptr_t end) {
    const struct hvm_modlist_entry *modules = (const void *)info->modlist_paddr;
    uintptr_t free = larger(start, (uintptr_t)kernel_end);
    free = behind(free, end, (uintptr_t)info, sizeof *info);
    free = behind(free, end, info->modlist_paddr, info->nr_modules * sizeof *modules);
    free = behind(free, end, info->memmap_paddr, info->memmap_entries * sizeof(struct hvm_memmap_table_entry));
    if (info->cmdline_paddr)
        free = behind(free, end, info->cmdline_paddr, strlen((const char *)info->cmdline_paddr) + 1);
    for (uint32_t i = 0; i < info->nr_modules; i++)
        free = behind(free, end, modules[i].paddr, modules[i].size);
    pages_init(free, end);
}

void memory_map_init(const struct hvm_start_info *info) {
    const struct hvm_memmap_table_entry *map = (const void *)info->memmap_paddr;
    if (info->version < 1 || !map)
        panic("hvm_start_info has no memory map");
    for (uint32_t i = 0; i < info->memmap_entries; i++) {
        uint64_t start = map[i].addr, end = map[i].addr + map[i].size;
        if (map[i].type == XEN_HVM_MEMMAP_TYPE_RAM && start < HOLE_LIMIT) {
            hole_start = larger(hole_start, end < HOLE_LIMIT ? end : HOLE_LIMIT);
            if (start < (uintptr_t)kernel_end && end >= (uintptr_t)kernel_end)
                give_pages(info, start, end < HOLE_LIMIT ? end : HOLE_LIMIT);
        }
    }
    hole_start = (hole_start + HOLE_ALIGNMENT - 1) & ~(HOLE_ALIGNMENT - 1);
    for (uint32_t i = 0; i < info->memmap_entries; i++) {
        if (map[i].addr < hole_start + HOLE_SIZE && map[i].addr + map[i].size > hole_start)
            panic("no hole behind the memory: the map's entry %u is in the way", i);
    }
}
