/* From the builder's 32-bit protected mode without paging to C in long mode.
 *
 * On entry: EBX is the address of hvm_start_info, flat segments, no stack, interrupts off.  What is set up here is just
 * enough to run 64-bit code: the first 2 MiB, where the kernel lies, mapped onto themselves.  paging.c does the rest.
 */
#include "abi/elfnote.h"

#define CR0_PE (1 << 0)
#define CR0_PG (1 << 31)
#define CR4_PAE (1 << 5)
#define EFER 0xC0000080
#define EFER_LME (1 << 8)
#define PTE_PRESENT_WRITABLE 3
#define PTE_LARGE (1 << 7)
#define KERNEL_CS 0x08
#define KERNEL_DS 0x10

    .section .head, "ax", @progbits
    .code32
    .globl _start
    .type _start, @function
_start:
    cld
    movl $bss_start, %edi       /* the builder clears it too, but not every loader is Xen's */
    movl $bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    movl $(pdpt + PTE_PRESENT_WRITABLE), pml4
    movl $(page_directories + PTE_PRESENT_WRITABLE), pdpt
    movl $(PTE_LARGE + PTE_PRESENT_WRITABLE), page_directories

    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $pml4, %eax
    movl %eax, %cr3
    movl $EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl %cr0, %eax
    orl $(CR0_PG | CR0_PE), %eax
    movl %eax, %cr0

    lgdt gdt_pointer
    ljmp $KERNEL_CS, $start64

    .code64
start64:
    movl $KERNEL_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq $boot_stack_end, %rsp
    xorl %ebp, %ebp             /* where a walk of the frames ends */
    movl %ebx, %edi
    call pvh_start
    ud2

    /* What Xen fills; executable, so it lies in the text. */
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
    note XEN_ELFNOTE_PHYS32_ENTRY, .long _start
    note XEN_ELFNOTE_GUEST_OS, .asciz "domus-guest"
    note XEN_ELFNOTE_GUEST_VERSION, .asciz "1"
    note XEN_ELFNOTE_LOADER, .asciz "generic"

    .section .note.GNU-stack, "", @progbits
