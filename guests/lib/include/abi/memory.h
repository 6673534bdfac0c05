/* memory_op: commands and their arguments. */
#pragma once
#include <stdint.h>

#define XENMEM_decrease_reservation 1
#define XENMEM_maximum_ram_page 2
#define XENMEM_current_reservation 3
#define XENMEM_maximum_reservation 4
#define XENMEM_populate_physmap 6
#define XENMEM_add_to_physmap 7
#define XENMEM_memory_map 9
#define XENMEM_maximum_gpfn 14
#define XENMEM_remove_from_physmap 15

#define XENMAPSPACE_shared_info 0
#define XENMAPSPACE_grant_table 1
#define XENMAPIDX_grant_table_status 0x80000000

struct xen_memory_domain {
    uint16_t domid;
};

struct xen_add_to_physmap {
    uint16_t domid;
    uint16_t size;
    uint32_t space;
    unsigned long idx;
    unsigned long gpfn;
};

struct xen_remove_from_physmap {
    uint16_t domid;
    unsigned long gpfn;
};

struct xen_memory_reservation {
    unsigned long *extent_start;
    unsigned long nr_extents;
    uint32_t extent_order;
    uint32_t mem_flags;
    uint16_t domid;
};

struct xen_memory_map {
    uint32_t nr_entries;
    void *buffer;
};
