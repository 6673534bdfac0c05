/* The first C code, on the boot stack, with the first 2 MiB mapped. */
#include "kind.h"
#include "panic.h"
#include "pvh64.h"

_Noreturn void pvh_start(const struct hvm_start_info *info);

_Noreturn void pvh_start(const struct hvm_start_info *info) {
    paging_init();
    segments_init();
    idt_init();
    xen_init();
    if (info->magic != XEN_HVM_START_MAGIC_VALUE)
        panic("no hvm_start_info at %p", (const void *)info);
    memory_map_init(info);
    guest_main(info->cmdline_paddr ? (const char *)info->cmdline_paddr : "");
}
