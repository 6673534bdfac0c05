/*
 * The commonest exits of a 64-bit PV vCPU, in native code: of the hypercalls XENVER_version, iret, stack_switch and
 * the plain changes of page tables (pv_front_memory.c); system calls and page faults, which are bounced to the kernel;
 * RDTSC; and CLI, STI and reading control registers, which raise #GP and are Xen's to do.
 *
 * Trap flag set, whether the guest's or that of a table write in progress: all that is left to Python.
 */
#include "pv_front.h"

enum { R11 = 11, CC_SRC = 19, CS = 26, SS = 29, GS_BASE = 39, KERNEL_GS_BASE = 608 };
enum { CC_OP = 42, DF = 43, ERROR_CODE = 1346, CC_OP_EFLAGS = 1 };
enum { CS32 = 1 << 4, SS32 = 1 << 5, ADDSEG = 1 << 6, MODE = CPL | CS32 | SS32 | ADDSEG | CS64,
       MODE64 = 3 | CS32 | SS32 | CS64 };
enum { ARITHMETIC = 0x8D5, DIRECTION = 0x400, IOPL = 3 << 12, NT = 1 << 14, RF = 1 << 16, VM = 1 << 17, AC = 1 << 18 };
enum { EXIT_PF = 0x14E, EXIT_GP = 0x14D, EXIT_RDTSC = 0x16E, PF = 14 };
enum { MMU_UPDATE = 1, STACK_SWITCH = 3, UPDATE_VA_MAPPING = 14, IRET = 23, MMUEXT_OP = 26 };
enum { TRAPS = 256, MASKS_EVENTS = 4, PF_USER = 4, PF_PROTECTION = 3, TSD = 1 << 2, SYSCALL_LENGTH = 2 };
enum { KERNEL_CS = 0xE033, KERNEL_SS = 0xE02B, IN_SYSCALL = 1 << 8 };
enum { GUEST_CR0 = 0x80050033u, GUEST_CR4 = 0x620, TS = 8, IRET_SIZE = 72 };
#define CODE64 0x00A0FB00FFFFFFFFull  /* limit and attributes of FLAT_KERNEL_CS64 as the engine keeps them */
#define STACK 0x00C0F300FFFFFFFFull   /* and of FLAT_KERNEL_SS */

static int in_kernel(struct pv_front *p) {
    return p->vcpu_flags[p->f.row] & KERNEL_MODE;
}

static u64 read_rflags(void *uc, struct pv_front *p) {
    u64 value = 0;
    ((int (*)(void *, int, void *))p->reg_read)(uc, (int)p->rflags, &value);
    return value;
}

/* ---- into the kernel, and back (Frames64) */

static void toggle(void *uc, struct pv_front *p) {
    u64 *q = p->f.q, base = q[KERNEL_GS_BASE];
    q[KERNEL_GS_BASE] = q[GS_BASE];
    q[GS_BASE] = base;
    p->vcpu_flags[p->f.row] ^= KERNEL_MODE;
    q[CR3] = (u64)(in_kernel(p) ? p->kernel_cr3 : p->user_cr3)[p->f.row] << 12;
    flush_tlb(uc, &p->f);
}

static void flat64(struct fast_path *f) {
    u64 *q = f->q;
    if (q[CS] == KERNEL_CS && q[SS] == KERNEL_SS && (f->d[HFLAGS] & MODE) == MODE64)
        return;
    q[CS] = KERNEL_CS, q[CS + 1] = 0, q[CS + 2] = CODE64;
    q[SS] = KERNEL_SS, q[SS + 1] = 0, q[SS + 2] = STACK;
    f->d[HFLAGS] = (f->d[HFLAGS] & ~(u32)MODE) | MODE64;
}

struct frame { u64 bottom, machine; };

/* Where the frame of an entry to the kernel goes; 0 where that is not plain. */
static int find_stack(struct pv_front *p, unsigned words, struct frame *frame) {
    u64 top = (in_kernel(p) ? p->f.q[RSP] : p->kernel_sp[p->f.row]) & ~15ull, row = p->f.row;
    frame->bottom = top - 8 * words;
    frame->machine = linear_in(&p->f, (u64)p->kernel_cr3[row] << 12, frame->bottom, 8 * words, 1);
    return frame->machine && !assists(p, ARCHITECTURAL_IOPL);
}

/* Frames64.bounce, with an error code where `frame` has room for it. */
static void bounce(void *uc, struct pv_front *p, struct frame *frame, u64 ip, int masks, const u64 *error, u64 resume) {
    struct fast_path *f = &p->f;
    u64 *q = f->q, selector = q[CS], stack = q[RSP], flags, mask = 1, info;
    if (in_kernel(p))
        selector &= ~3ull;
    else
        toggle(uc, p);
    flags = (read_rflags(uc, p) & ~(u64)(IF | IOPL)) | resume;
    info = f->info[f->row];
    if (info) {
        mask = f->memory[info + 1];
        if (masks)
            f->memory[info + 1] = 1;
    }
    if (!mask)
        flags |= IF;
    u64 at = frame->machine;
    store64(f, at, q[RCX]);
    store64(f, at + 8, q[R11]);
    at += 16;
    if (error) {
        store64(f, at, *error);
        at += 8;
    }
    store64(f, at, q[RIP]);
    store64(f, at + 8, selector | mask << 32);
    store64(f, at + 16, flags);
    store64(f, at + 24, stack);
    store64(f, at + 32, q[SS]);
    q[RSP] = frame->bottom;
    q[RIP] = ip;
    flat64(f);
    q[EFLAGS] &= ~(u64)(AC | VM | RF | NT | TF);
}

/* Frames64.iret to flat 64-bit code.  `result`: for RAX. */
static int iret(void *uc, struct pv_front *p, u64 *result) {
    struct fast_path *f = &p->f;
    u64 *q = f->q, words[9], at = linear(f, q[RSP], IRET_SIZE, 0);
    if (!at || assists(p, ARCHITECTURAL_IOPL) || p->nmi[f->row])
        return 0;
    __builtin_memcpy(words, f->memory + at, IRET_SIZE);
    u64 rcx = words[2], r11 = words[1], how = words[3], rip = words[4], cs = words[5], flags = words[6], ss = words[8];
    int to_user = (cs & 3) == 3;
    if (flags & TF || (to_user && !p->user_cr3[f->row]))
        return 0;
    if (how & IN_SYSCALL) {
        if ((cs | 3) == 0xE023)
            return 0;
        rcx = rip, r11 = flags;
    } else if (((cs & 0xFFFF) | 3) != KERNEL_CS || ((ss & 0xFFFF) | 3) != KERNEL_SS) {
        return 0;
    }
    if (to_user)
        toggle(uc, p);
    q[RIP] = rip, q[RSP] = words[7], q[RCX] = rcx, q[R11] = r11;
    u64 value = (flags & 0x3FFFFF & ~(u64)(IOPL | VM)) | IF;
    q[EFLAGS] = (value & ~(u64)(ARITHMETIC | DIRECTION)) | 2;
    q[CC_SRC] = value & ARITHMETIC;
    f->d[CC_OP] = CC_OP_EFLAGS;
    f->d[DF] = value & DIRECTION ? 0xFFFFFFFF : 1;
    if (f->info[f->row])
        f->memory[f->info[f->row] + 1] = !(flags & IF);
    flat64(f);
    *result = words[0];
    return 1;
}

/* ---- exits; each returns whether it is done */

static int page_fault(void *uc, struct pv_front *p) {
    struct fast_path *f = &p->f;
    u64 code = f->d[ERROR_CODE], at = f->row * TRAPS + PF, ip = p->trap_address[at], info = f->info[f->row];
    struct frame frame;
    /* The kernel's write to what it may only read may be one to a page table; Xen's own access may be one to the LDT. */
    if (!(code & PF_USER) || !ip || ((code & PF_PROTECTION) == PF_PROTECTION && in_kernel(p)) ||
        !find_stack(p, 8, &frame))
        return 0;
    if (info)
        store64(f, info + p->cr2, *p->fault_address);
    *f->budget -= (int64_t)p->trap_cycles;
    if (*f->budget < 0)
        ((int (*)(void *))f->emu_stop)(uc);
    code = (code & ~(u64)PF_USER) | (in_kernel(p) ? 0 : PF_USER);
    bounce(uc, p, &frame, ip, p->trap_flags[at] & MASKS_EVENTS, &code, RF);
    return 1;
}

static int general_protection(struct pv_front *p) {
    struct fast_path *f = &p->f;
    u64 *q = f->q, at = linear(f, q[RIP], 4, 0), row = f->row;
    if (!at || !(f->d[HFLAGS] & CS64) || f->d[ERROR_CODE] || !in_kernel(p) || assists(p, ARCHITECTURAL_IOPL))
        return 0;
    const u8 *code = f->memory + at;
    if (code[0] == 0xFA || code[0] == 0xFB) { /* CLI, STI */
        if (!p->iopl[row])
            return 0;
        q[RIP] += 1;
        return 1;
    }
    unsigned rex = (code[0] & 0xF0) == 0x40 ? *code++ : 0;
    if (code[0] != 0x0F || code[1] != 0x20 || rex & 4) /* MOV from a control register */
        return 0;
    u64 value;
    switch (code[2] >> 3 & 7) {
    case 0: value = GUEST_CR0 | (p->vcpu_flags[row] & TASK_SWITCHED ? TS : 0); break;
    case 3: value = (u64)p->kernel_cr3[row] << 12; break;
    case 4: value = p->cr4[row] | GUEST_CR4; break;
    default: return 0;
    }
    q[(code[2] & 7) | (rex & 1) << 3] = value;
    q[RIP] += rex ? 4 : 3;
    return 1;
}

static int rdtsc(struct pv_front *p) {
    struct fast_path *f = &p->f;
    u64 *q = f->q, at = linear(f, q[RIP], 2, 0);
    if (!at || !(f->d[HFLAGS] & CS64) || f->memory[at] != 0x0F || (p->cr4[f->row] & TSD && !in_kernel(p)))
        return 0;
    u64 time = now(f);
    p->spun_at[f->row] = 0;
    q[RAX] = (u32)time;
    q[RDX] = time >> 32;
    q[RIP] += 2;
    if (f->memory[at + 1] == OF_RDTSCP) {
        q[RCX] = q[TSC_AUX];
        q[RIP] += 1;
    }
    return 1;
}

static int system_call(void *uc, struct pv_front *p) {
    struct fast_path *f = &p->f;
    u64 *q = f->q, ip = p->syscall_ip[f->row], flags;
    struct frame frame;
    if (!ip || !find_stack(p, 7, &frame))
        return 0;
    flags = read_rflags(uc, p);
    q[CS] = KERNEL_CS, q[SS] = KERNEL_SS;
    q[RIP] += SYSCALL_LENGTH;
    q[RCX] = q[RIP], q[R11] = flags;
    bounce(uc, p, &frame, ip, p->vcpu_flags[f->row] & SYSCALL_MASKS, 0, 0);
    return 1;
}

static int hypercall(void *uc, struct pv_front *p) {
    struct fast_path *f = &p->f;
    u64 *q = f->q, number = q[RAX], result = 0, time = now(f), next = q[RIP] + SYSCALL_LENGTH;
    u64 words[5] = {q[RDI], q[RSI], q[RDX], q[R10]};
    int arguments = 4, done = 0;
    if (number == IRET) {
        /* Nothing of it is in the trace but the result; where it goes on is on the stack. */
        if (!iret(uc, p, &result))
            return 0;
        q[RAX] = result;
        record_hypercall(f, time, number, &result, 0);
        return 1;
    }
    switch (number) {
    case XEN_VERSION:
        arguments = 2;
        done = (u32)q[RDI] == 0;
        result = f->version;
        break;
    case STACK_SWITCH:
        arguments = 2;
        done = 1;
        p->kernel_ss[f->row] = (u16)q[RDI];
        p->kernel_sp[f->row] = q[RSI];
        break;
    case UPDATE_VA_MAPPING:
        arguments = 3;
        done = pv_update_va_mapping(uc, p, q[RDI], q[RSI], q[RDX]);
        break;
    case MMU_UPDATE:
        done = pv_mmu_update(p, q[RDI], q[RSI], q[RDX], q[R10]);
        break;
    case MMUEXT_OP:
        done = pv_mmuext_op(uc, p, q[RDI], q[RSI], q[RDX], q[R10]);
        break;
    }
    if (!done)
        return 0;
    words[arguments] = result;
    record_hypercall(f, time, number, words, arguments);
    q[RIP] = q[RCX] = next;
    q[RAX] = result;
    return 1;
}

/* ---- hooks */

static int may(struct pv_front *p) {
    struct fast_path *f = &p->f;
    return f->enabled && f->trace_size - f->trace_length >= 256 && !(f->q[EFLAGS] & TF);
}

static void deliver(struct pv_front *p) {
    u64 info = p->f.info[p->f.row];
    if (p->f.memory[info] && info && !p->f.memory[info + 1])
        ((void (*)(void))p->python_event)();
}

/* UC_HOOK_INTR. */
void domus_pv_exit(void *uc, u32 number, struct pv_front *p) {
    int done = 0;
    if (may(p)) {
        if (number == EXIT_RDTSC)
            done = rdtsc(p);
        else if (number == EXIT_PF)
            done = page_fault(uc, p);
        else if (number == EXIT_GP)
            done = general_protection(p);
    }
    if (done)
        deliver(p);
    else
        ((void (*)(void *, u32, void *))p->f.python)(uc, number, 0);
}

/* UC_HOOK_INSN of SYSCALL: RIP is at the instruction, and the engine adds its length afterwards. */
void domus_pv_syscall(void *uc, struct pv_front *p) {
    int done = 0;
    if (may(p)) {
        if (!in_kernel(p))
            done = p->f.d[HFLAGS] & CS64 && system_call(uc, p);
        else if (p->f.d[HFLAGS] & CS64)
            done = hypercall(uc, p);
    }
    if (!done) {
        ((void (*)(void *, void *))p->python_syscall)(uc, 0);
        return;
    }
    deliver(p);
    p->f.q[RIP] -= SYSCALL_LENGTH;
}

/* For pv_front.py to see that both mean the same structure. */
u64 domus_pv_size(void) { return sizeof(struct pv_front); }
