/* The first C code, and the pages that Xen shows to the domain. */
#include "kind.h"

#include "hypercalls.h"
#include "panic.h"
#include "pv.h"
#include "xen.h"

#define SHARED_INFO_PLACE 0
#define GRANT_FRAMES_PLACE 1
#define STATUS_FRAMES_PLACE (GRANT_FRAMES_PLACE + MAX_GRANT_FRAMES)

const struct start_info *start_info;

_Noreturn void pv_start(const struct start_info *info);

_Noreturn void pv_start(const struct start_info *info) {
    static struct vcpu_info before; /* until shared_info is mapped, for whoever masks upcalls */
    start_info = info;
    vcpu_info = &before;
    memory_init();
    shared_info = kind_map_shared_info();
    vcpu_info = &shared_info->vcpu_info[0];
    traps_init();
    find_xen();
    guest_main(info->cmd_line);
}

struct shared_info *kind_map_shared_info(void) {
    map_frame(xen_page(SHARED_INFO_PLACE), start_info->shared_info >> PAGE_SHIFT);
    return xen_page(SHARED_INFO_PLACE);
}

struct grant_entry_v1 *kind_map_grant_frames(unsigned int first, unsigned int count) {
    unsigned long list[MAX_GRANT_FRAMES];
    struct gnttab_setup_table op = {
        .dom = DOMID_SELF, .nr_frames = first + count, .status = GNTST_general_error, .frame_list = list};
    if (hypercall_grant_table_op(GNTTABOP_setup_table, &op, 1) < 0 || op.status != GNTST_okay)
        return 0;
    for (unsigned int i = first; i < first + count; i++)
        map_frame(xen_page(GRANT_FRAMES_PLACE + i), list[i]);
    return xen_page(GRANT_FRAMES_PLACE);
}

uint16_t *kind_map_status_frames(unsigned int first, unsigned int count) {
    uint64_t list[MAX_STATUS_FRAMES];
    struct gnttab_get_status_frames op = {
        .nr_frames = first + count, .dom = DOMID_SELF, .status = GNTST_general_error, .frame_list = list};
    if (hypercall_grant_table_op(GNTTABOP_get_status_frames, &op, 1) < 0 || op.status != GNTST_okay)
        return 0;
    for (unsigned int i = first; i < first + count; i++)
        map_frame(xen_page(STATUS_FRAMES_PLACE + i), list[i]);
    return xen_page(STATUS_FRAMES_PLACE);
}
