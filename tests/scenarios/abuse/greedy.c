/* Takes all of the hypervisor's own memory that it can get, and keeps it for a while. */
#include "guest.h"
#include "pvh64.h"

#define FIRST 0x100000UL /* frames from 4 GiB on, where nothing is */
#define STRIDE 512UL     /* what one table covers */
#define MOST 100000

static long last_error;

static unsigned int move_shared_info_about(unsigned long stride) {
    unsigned int done;
    for (done = 0; done < MOST; done++) {
        struct xen_add_to_physmap where = {
            .domid = DOMID_SELF, .space = XENMAPSPACE_shared_info, .gpfn = FIRST + done * stride};
        last_error = hypercall_memory_op(XENMEM_add_to_physmap, &where);
        if (last_error)
            break;
    }
    return done;
}

static unsigned int grow_grant_table(void) {
    unsigned int done;
    for (done = 0; done < MOST; done++) {
        struct xen_add_to_physmap where = {
            .domid = DOMID_SELF, .space = XENMAPSPACE_grant_table, .idx = done, .gpfn = 0xE0000 + done};
        last_error = hypercall_memory_op(XENMEM_add_to_physmap, &where);
        if (last_error)
            break;
    }
    return done;
}

static unsigned int allocate_ports(void) {
    int port = 0;
    unsigned int done;
    for (done = 0; done < MOST && port >= 0; done++)
        port = event_alloc_unbound(DOMID_SELF);
    last_error = port;
    return done - 1;
}

int main(void) {
    unsigned int done = move_shared_info_about(STRIDE);
    check(done < MOST && last_error == -XEN_ENOMEM, "%u tables, then %ld", done, last_error);
    done = move_shared_info_about(STRIDE * STRIDE);
    check(done < MOST && last_error, "%u more, then %ld", done, last_error);
    done = grow_grant_table();
    check(done < 1000 && last_error, "%u grant frames, then %ld", done, last_error);
    done = allocate_ports();
    check(done < 5000 && last_error == -XEN_ENOSPC, "%u ports, then %ld", done, last_error);
    sleep_ns(20 * MILLISECOND);
    return checks_failed("greedy");
}
