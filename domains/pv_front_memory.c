/*
 * The commonest changes of page tables by a 64-bit PV kernel, in native code: L1 entries, by update_va_mapping or by
 * mmu_update, that map the domain's own memory or nothing; and other top-level tables, by mmuext_op.
 */
#include "pv_front.h"

enum { PRESENT = 1, WRITABLE = 2, USER = 4, ACCESSED = 0x20, DIRTY = 0x40, LARGE = 0x80, GLOBAL = 0x100 };
enum { L1_DISALLOWED = 0x98, L1 = 1, L4 = 4, SEG_DESC = 5, WRITABLE_TYPE = 7, PAE_XEN_L2 = 4, LDT_FRAMES = 16 };
enum { UVMF_TLB_FLUSH = 1, UVMF_INVLPG = 2, UVMF_KIND = 3, UVMF_ALL = 4 };
enum { NORMAL = 0, PRESERVE_AD = 2, MOST_REQUESTS = 512, DOMID_SELF = 0x7FF0 };
enum { NEW_BASEPTR = 5, NEW_USER_BASEPTR = 15, MOST_OPERATIONS = 2, OPERATION = 24 };
#define GUEST_KERNEL (1ull << 52)
#define SAME (FRAME << 12 | PRESENT | WRITABLE | L1_DISALLOWED)
#define LOWER_HALF (1ull << 47)

static void count_flush(struct pv_front *p) {
    p->flushes[p->f.domid]++;
}

/* The domain's own RAM. */
static int own(struct pv_front *p, u64 mfn) {
    return mfn < p->f.frames && p->f.frame_kind[mfn] == RAM && p->f.owner[mfn] == p->f.domid;
}

/* PvMemory.l1_slot: the machine address of the L1 entry of a kernel address; 0 where there is none. */
static u64 l1_entry(struct pv_front *p, u64 address) {
    if (address >= LOWER_HALF && address < p->xen_end)
        return 0;
    u64 mfn = p->kernel_cr3[p->f.row];
    for (int shift = 39; shift > 12; shift -= 9) {
        u64 entry = load64(&p->f, mfn << 12 | (address >> shift & 511) << 3);
        if (!(entry & PRESENT) || (shift == 21 && entry & LARGE))
            return 0;
        mfn = entry >> 12 & FRAME;
        if (!own(p, mfn))
            return 0;
    }
    return mfn << 12 | (address >> 12 & 511) << 3;
}

static int changes(u64 old, u64 value) {
    return !(value & PRESENT) || (old ^ value) & SAME;
}

/* The domain's own RAM, which it has not given back: no reference to it is the last. */
static int kept(struct pv_front *p, u64 mfn) {
    return own(p, mfn) && p->f.frame_flags[mfn];
}

/* Whether PageEntries.mod_l1 of the entry at machine address `at` is plain.  What makes it so stays, whatever other
 * plain changes come before it: a frame that may be mapped for writing still may, and none is freed. */
static int may_mod_l1(struct pv_front *p, u64 at, u64 value) {
    u64 old = load64(&p->f, at), mfn = value >> 12 & FRAME, gone = old >> 12 & FRAME;
    if (value & PRESENT) {
        if (value & L1_DISALLOWED || !kept(p, mfn) || (p->type[mfn] == SEG_DESC && p->type_count[mfn]))
            return 0;
        if (value & WRITABLE && p->type[mfn] != WRITABLE_TYPE && p->type_count[mfn])
            return 0;
    }
    if (!(old & PRESENT))
        return 1;
    return kept(p, gone) && (old & WRITABLE ? p->type[gone] == WRITABLE_TYPE :
                             p->type[gone] != SEG_DESC || !p->type_count[gone]);
}

static void mod_l1(struct pv_front *p, u64 at, u64 value, int preserve) {
    struct fast_path *f = &p->f;
    u64 old = load64(f, at), mfn = value >> 12 & FRAME, gone = old >> 12 & FRAME;
    int changed = changes(old, value);
    if (value & PRESENT) {
        if (changed) {
            if (value & WRITABLE) {
                p->type[mfn] = WRITABLE_TYPE;
                p->type_count[mfn]++;
            }
            f->refs[mfn]++;
        }
        if (!(value & USER))
            value |= GUEST_KERNEL | USER;
        else if (!(value & GUEST_KERNEL))
            value |= GLOBAL;
    }
    if (preserve)
        value |= old & (ACCESSED | DIRTY);
    store64(f, at, value);
    if (old & PRESENT && changed) {
        if (old & WRITABLE && !--p->type_count[gone])
            p->stamp[gone] = p->flushes[f->domid];
        f->refs[gone]--;
    }
}

int pv_update_va_mapping(void *uc, struct pv_front *p, u64 address, u64 value, u64 flags) {
    u64 at = l1_entry(p, address);
    if (!at || p->type[at >> 12] != L1 || flags & ~(u64)(UVMF_KIND | UVMF_ALL) || !may_mod_l1(p, at, value))
        return 0;
    mod_l1(p, at, value, 0);
    if ((flags & UVMF_KIND) == UVMF_TLB_FLUSH) {
        count_flush(p);
        flush_tlb(uc, &p->f);
    } else if ((flags & UVMF_KIND) == UVMF_INVLPG) {
        ((void (*)(void *, u64))p->flush_page)(p->cpu, address);
    }
    return 1;
}

/* The machine address of a hypercall's array; 0 also where Xen would not look. */
static u64 array(struct pv_front *p, u64 address, unsigned size) {
    return address < LOWER_HALF || address >= p->xen_end ? linear(&p->f, address, size, 0) : 0;
}

/* Copy an array of the guest's that may lie in several pages. */
static int read_array(struct pv_front *p, u64 address, u64 *to, u64 size) {
    for (u64 here; size; address += here, size -= here) {
        here = 4096 - (address & 0xFFF);
        if (here > size)
            here = size;
        u64 at = array(p, address, (unsigned)here);
        if (!at)
            return 0;
        __builtin_memcpy(to, p->f.memory + at, here);
        to = (u64 *)((u8 *)to + here);
    }
    return 1;
}

int pv_mmu_update(struct pv_front *p, u64 requests, u64 count, u64 done, u64 owner) {
    u64 list[2 * MOST_REQUESTS], number = (u32)count;
    if (!number || number > MOST_REQUESTS || done || (u32)owner != DOMID_SELF ||
        !read_array(p, requests, list, 16 * number))
        return 0;
    for (u64 n = 0; n < number; n++) {
        u64 pointer = list[2 * n], mfn = pointer >> 12;
        int command = pointer & 7;
        if ((command != NORMAL && command != PRESERVE_AD) || !own(p, mfn) || p->type[mfn] != L1 ||
            !p->type_count[mfn] || !may_mod_l1(p, pointer & ~7ull, list[2 * n + 1]))
            return 0;
    }
    for (u64 n = 0; n < number; n++)
        mod_l1(p, list[2 * n] & ~7ull, list[2 * n + 1], (list[2 * n] & 7) == PRESERVE_AD);
    return 1;
}

/* PageTypes.get of a valid L4 is one more use, and of `old` one less but not the last.  `spare`: uses of `old` that the
 * same hypercall ends before. */
static int may_change(struct pv_front *p, u64 mfn, u64 old, u32 spare) {
    if (mfn == old)
        return 1;
    if (mfn && (!own(p, mfn) || p->type[mfn] != L4 || !p->type_count[mfn] || p->type_flags[mfn] & PAE_XEN_L2))
        return 0;
    return !old || (own(p, old) && p->type[old] == L4 && p->type_count[old] > spare + 1 && p->f.refs[old] > spare + 1);
}

static void change(struct pv_front *p, u32 *column, u64 mfn) {
    u64 old = column[p->f.row];
    if (old == mfn)
        return;
    if (mfn) {
        p->type_count[mfn]++;
        p->f.refs[mfn]++;
    }
    column[p->f.row] = (u32)mfn;
    if (old) {
        p->type_count[old]--;
        p->f.refs[old]--;
    }
}

struct operation { u32 command; u64 mfn; };

static u32 *column(struct pv_front *p, u32 command) {
    return command == NEW_BASEPTR ? p->kernel_cr3 : p->user_cr3;
}

int pv_mmuext_op(void *uc, struct pv_front *p, u64 operations, u64 count, u64 done, u64 owner) {
    struct fast_path *f = &p->f;
    u32 number = (u32)count;
    struct operation list[MOST_OPERATIONS];
    if (!number || number > MOST_OPERATIONS || done || (owner & 0xFFFF) != DOMID_SELF || assists(p, M2P_STRICT))
        return 0;
    u64 in = array(p, operations, OPERATION * number);
    if (!in)
        return 0;
    for (u32 n = 0; n < number; n++) {
        struct operation *o = list + n;
        o->command = load32(f, in + OPERATION * n);
        o->mfn = load64(f, in + OPERATION * n + 8);
        if (o->command != NEW_BASEPTR && (o->command != NEW_USER_BASEPTR || number == 1))
            return 0;
        if (n && o->command == list[0].command)
            return 0;
        if (!may_change(p, o->mfn, column(p, o->command)[f->row], n) || (o->command == NEW_BASEPTR && !o->mfn))
            return 0;
    }
    /* Each operation is read when its turn comes, through the tables of that moment. */
    if (number == 2 && linear_in(f, list[0].mfn << 12, operations + OPERATION, OPERATION, 0) != in + OPERATION &&
        list[0].command == NEW_BASEPTR)
        return 0;
    for (int n = 0; n < LDT_FRAMES; n++)
        if (p->ldt[f->row * LDT_FRAMES + n])
            return 0;
    for (u32 n = 0; n < number; n++)
        change(p, column(p, list[n].command), list[n].mfn);
    f->q[CR3] = (u64)p->kernel_cr3[f->row] << 12;
    count_flush(p);
    flush_tlb(uc, f);
    return 1;
}
