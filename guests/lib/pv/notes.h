/* For the assembler: the ELF notes of a PV kernel, and the page that Xen fills. */
#include "abi/elfnote.h"

    .section .hypercall_page, "ax", @progbits
    .globl hypercall_page
    .type hypercall_page, @object
hypercall_page:
    .fill 4096, 1, 0xCC
    .size hypercall_page, 4096

    .macro note type, value:vararg
    .balign 4
    .long 4, 2f - 1f, \type
    .asciz "Xen"
1:  \value
2:  .balign 4
    .endm

    .section .note.Xen, "a", @note
    note XEN_ELFNOTE_ENTRY, .long _start
    note XEN_ELFNOTE_VIRT_BASE, .long 0
    note XEN_ELFNOTE_HYPERCALL_PAGE, .long hypercall_page
    note XEN_ELFNOTE_XEN_VERSION, .asciz "xen-3.0"
    note XEN_ELFNOTE_PAE_MODE, .asciz "yes"
    note XEN_ELFNOTE_GUEST_OS, .asciz "domus-guest"
    note XEN_ELFNOTE_GUEST_VERSION, .asciz "1"
    note XEN_ELFNOTE_LOADER, .asciz "generic"

    .section .note.GNU-stack, "", @progbits
