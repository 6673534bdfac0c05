/* Rings of a 32-bit paravirtual guest: Xen has ring 0, this kernel ring 1, its programs ring 3.
 *
 * Shows who may call Xen by `int $0x82`, what Xen does for ring 1 and not for ring 3, and what a trap looks like that
 * Xen bounces back to the kernel: which words are on which stack, and what they mean.
 *
 * Targets: pv32
 */
#include "guest.h"
#include "kind.h"
#include "pv.h"

#define INT_LENGTH 2
#define BY_IDT 2
#define FOREIGN_VECTOR 0x83 /* no entry in the trap table */

_Noreturn void leave_ring3(void);
void enter_ring3(const char *entry, char *stack_end, const void *argument);
extern char ring3_page[], ring3_hypercall[], ring3_breakpoint[], ring3_cr0[], ring3_read[];

unsigned long ring1_esp;

static struct trap_frame seen;
static uintptr_t frame_place;
static bool masked;
static char trap_stack[PAGE_SIZE] __attribute__((aligned(4096)));
static char *ring3_stack;

static void record(struct trap_frame *frame) {
    seen = *frame;
    frame_place = (uintptr_t)&frame->error;
    masked = vcpu_info->evtchn_upcall_mask;
}

/* What ring 3 did is over; go on in ring 1, behind enter_ring3(). */
static void on_trap(struct trap_frame *frame) {
    record(frame);
    if ((frame->cs & 3) == 3) {
        frame->ip = (uintptr_t)leave_ring3;
        frame->cs = KERNEL_CS;
    } else {
        frame->ip += INT_LENGTH;
    }
}

static void show_word(const char *name, unsigned long value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void show_word(const char *name, unsigned long value, const char *format, ...) {
    char meaning[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(meaning, sizeof meaning, format, arguments);
    va_end(arguments);
    printf("  %08lx  %08lx  %-6s  %s\n", (unsigned long)frame_place, value, name, meaning);
    frame_place += sizeof value;
}

/* The words as Xen pushed them, the lowest address first. */
static void show_bounce(const char *what) {
    bool from_ring3 = (seen.cs & 3) == 3, has_error = seen.vector == TRAP_GP || seen.vector == TRAP_PF;
    printf("%s: exception %lu came to ring 1 with\n", what, seen.vector);
    if (!has_error)
        frame_place += sizeof seen.error;
    else if (seen.vector == TRAP_GP && seen.error)
        show_word("error", seen.error, "vector 0x%lx, %s", seen.error >> 3, seen.error & BY_IDT ? "by INT" : "no INT");
    else
        show_word("error", seen.error, seen.vector == TRAP_PF ? "a page fault; its address 0x%lx is in vcpu_info"
                                                              : "nothing to say%.0lx", fault_address());
    show_word("eip", seen.ip, "where to go on");
    show_word("cs", seen.cs, "ring %lu; bits 16 to 23 are the upcall mask as it was: %lu", seen.cs & 3,
              seen.cs >> 16 & 0xFF);
    show_word("eflags", seen.flags, "IF is set where upcalls were open");
    if (from_ring3) {
        show_word("esp", seen.sp, "of ring 3");
        show_word("ss", seen.ss, "of ring 3");
    }
    printf("  upcalls are %s in the handler\n", masked ? "masked" : "open");
}

static bool on_trap_stack(void) {
    return frame_place > (uintptr_t)trap_stack && frame_place <= (uintptr_t)trap_stack + sizeof trap_stack;
}

static void show_ring1(void) {
    unsigned long cs, cr0;
    __asm__ volatile("movl %%cs, %0" : "=r"(cs));
    printf("this kernel runs in ring %lu, its code segment is %lx\n", cs & 3, cs);
    check((cs & 3) == 1, "the kernel is in ring 1");
    long version = hypercall_raw(__HYPERVISOR_xen_version, XENVER_version, 0, 0, 0, 0);
    check(version > 0 && version == hypercall_xen_version(XENVER_version, 0),
          "int $0x82 in ring 1 calls Xen, as the hypercall page does: xen_version is %ld.%ld", version >> 16,
          version & 0xFFFF);
    __asm__ volatile("movl %%cr0, %0" : "=r"(cr0));
    check(cr0 & 1, "reading CR0 in ring 1 traps, and Xen does it for the kernel: %08lx", cr0);
    __asm__ volatile("int %0" ::"i"(FOREIGN_VECTOR));
    show_bounce("ring 1, int $0x83, which has no entry in the trap table");
    check(seen.vector == TRAP_GP && seen.error == (FOREIGN_VECTOR << 3 | BY_IDT) && (seen.cs & 3) == 1,
          "a trap of ring 1 goes on its own stack, without esp and ss");
}

static void run_ring3(const char *code, const void *argument) {
    enter_ring3(code, ring3_stack + PAGE_SIZE, argument);
}

static void show_ring3(void) {
    run_ring3(ring3_breakpoint, 0);
    show_bounce("ring 3, int3");
    check(seen.vector == TRAP_BP && (seen.cs & 3) == 3 && seen.ip == (uintptr_t)ring3_breakpoint + 1,
          "int3 in ring 3 comes to the kernel: its entry in the trap table lets ring 3 in");
    check(on_trap_stack(), "on the stack that stack_switch named");
    run_ring3(ring3_hypercall, 0);
    show_bounce("ring 3, int $0x82");
    check(seen.vector == TRAP_GP && seen.error == (0x82 << 3 | BY_IDT) && seen.ax == __HYPERVISOR_xen_version,
          "int $0x82 in ring 3 is a #GP, error code %lx: programs cannot call Xen", seen.error);
    check(masked && !(seen.cs >> 16 & 0xFF), "the bounce masked upcalls, which were open");
    run_ring3(ring3_cr0, 0);
    check(seen.vector == TRAP_GP && !seen.error, "reading CR0 in ring 3 is a #GP: Xen emulates for the kernel only");
    run_ring3(ring3_read, trap_stack);
    show_bounce("ring 3, a read of the kernel's memory");
    check(seen.vector == TRAP_PF && seen.error == 5 && fault_address() == (uintptr_t)trap_stack,
          "the kernel's pages are not ring 3's: #PF, error code %lx", seen.error);
}

int main(void) {
    static const unsigned int caught[] = {TRAP_BP, TRAP_GP, TRAP_PF};
    for (unsigned int i = 0; i < sizeof caught / sizeof *caught; i++)
        trap_handle(caught[i], on_trap);
    show_ring1();
    ring3_stack = page_alloc();
    set_mapping((uintptr_t)ring3_page, (uint64_t)frame_of(ring3_page) << PAGE_SHIFT | PTE_PRESENT | PTE_USER);
    set_mapping((uintptr_t)ring3_stack,
                (uint64_t)frame_of(ring3_stack) << PAGE_SHIFT | PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_NX);
    hypercall2(__HYPERVISOR_stack_switch, FLAT_RING1_DS, trap_stack + sizeof trap_stack);
    show_ring3();
    return checks_failed("ring_demo");
}
