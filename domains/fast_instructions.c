/*
 * Instructions of a PVH vCPU that exit and that guests loop on while they wait: RDTSC, RDTSCP, and CPUID, which orders
 * them.  As in pvh_instructions.py; the virtual clock's TSC counts its nanoseconds.
 */
#include "front.h"

enum { EXIT_RDTSC = 0x16E, EXIT_CPUID = 0x172 };
enum { CS_BASE = 23 + 3 * 1 + 1 };
enum { CR4 = 57, PSE = 1 << 4, PAE = 1 << 5, PRESENT = 1, USED = 0x21, LARGE = 0x80 };
enum { CPUID_ROWS = 32, LEAF = 0, SUBLEAF, KNOWN, ANSWER, CPUID_WORDS = ANSWER + 4 };

/* An entry of a page table of the guest's, of 8 or 4 bytes; 0 where there is none. */
static u64 entry(struct fast_path *f, u64 gfn, u64 offset, int wide) {
    u64 at = ram(f, f->domid, gfn);
    return !at ? 0 : wide ? load64(f, at | offset) : load32(f, at | offset);
}

/* The machine address of a byte under 32-bit paging, with no bit left to set; else 0. */
static u64 linear32(struct fast_path *f, u64 address) {
    u64 cr3 = f->q[CR3], cr4 = f->q[CR4], wide = cr4 & PAE, bits = wide ? 9 : 10, size = wide ? 8 : 4;
    u64 gfn = cr3 >> 12 & 0xFFFFF, found, index = address >> 12 & ((1 << bits) - 1);
    if (wide) {
        found = entry(f, gfn, (cr3 & 0xFE0) | address >> 30 << 3, 1);
        if (!(found & PRESENT))
            return 0;
        gfn = found >> 12 & FRAME;
    }
    found = entry(f, gfn, (address >> (12 + bits) & ((1 << bits) - 1)) * size, wide != 0);
    if ((found & USED) != USED)
        return 0;
    gfn = found >> 12 & FRAME;
    if (found & LARGE && (wide || cr4 & PSE)) {
        gfn = wide ? (gfn & ~511ull) | index : (gfn & ~1023ull) | index | (found >> 13 & 0xFF) << 20;
    } else {
        found = entry(f, gfn, index * size, wide != 0);
        if ((found & USED) != USED)
            return 0;
        gfn = found >> 12 & FRAME;
    }
    u64 page = ram(f, f->domid, gfn);
    return page ? page | (address & 0xFFF) : 0;
}

/* The machine address of the instruction at CS:RIP, if it has no prefix; else 0. */
static u64 instruction(struct fast_path *f) {
    u64 *q = f->q, rip = q[RIP], at;
    if (!(f->d[HFLAGS] & CS64))
        rip = (rip + q[CS_BASE]) & 0xFFFFFFFF;
    if ((rip & 0xFFF) == 0xFFF)
        return 0;
    if (q[EFER] & LMA)
        at = linear(f, rip, 2, 0);
    else if (q[CR0] & PG)
        at = linear32(f, rip);
    else
        at = (at = ram(f, f->domid, rip >> 12)) ? at | (rip & 0xFFF) : 0;
    return at && f->memory[at] == 0x0F ? at : 0;
}

static int step(struct fast_path *f, u64 length) {
    u64 rip = f->q[RIP] + length;
    f->q[RIP] = f->d[HFLAGS] & CS64 ? rip : (u32)rip;
    f->d[HFLAGS] &= ~(u32)INHIBIT;
    return 1;
}

static int time_stamp(struct fast_path *f, u64 at) {
    u64 tsc = now(f);
    f->q[RAX] = (u32)tsc;
    f->q[RDX] = tsc >> 32;
    if (f->memory[at + 1] != OF_RDTSCP)
        return step(f, 2);
    f->q[RCX] = f->q[TSC_AUX];
    return step(f, 3);
}

/* What Python has answered before. */
static int identify(struct fast_path *f) {
    u32 leaf = (u32)f->q[RAX], subleaf = (u32)f->q[RCX];
    u32 *row = f->cpuid + (leaf + (leaf >> 28) + subleaf) % CPUID_ROWS * CPUID_WORDS;
    if (!row[KNOWN] || row[LEAF] != leaf || row[SUBLEAF] != subleaf)
        return 0;
    f->q[RAX] = row[ANSWER];
    f->q[RBX] = row[ANSWER + 1];
    f->q[RCX] = row[ANSWER + 2];
    f->q[RDX] = row[ANSWER + 3];
    return step(f, 2);
}

/* Several vCPUs of a domain differ in what CPUID says, and none may see the time stamp counter go back. */
int fast_instruction(u32 number, struct fast_path *f) {
    u64 at;
    if (f->vcpu_count[f->domid] > 1)
        return 0;
    if ((number != EXIT_RDTSC && number != EXIT_CPUID) || f->q[EFLAGS] & TF || f->host_clock || !(at = instruction(f)))
        return 0;
    return number == EXIT_CPUID ? identify(f) : time_stamp(f, at);
}
