/*
 * What the native fronts of PVH and of PV vCPUs share: where everything is, guest memory, time, and the trace.
 *
 * A front works on the same flat tables as the Python state machines, does what those would do, and leaves to them every
 * case that is not the plain one, before anything has been changed.  Whatever happens in it is in the trace, so a run
 * has the same digest with it and without; the tests run every scenario both ways.  The names are those of the Python
 * code: look there for what each step means.
 */
#ifndef FRONT_H
#define FRONT_H
#include <stdint.h>
#include <time.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef uint16_t u16;
typedef uint8_t u8;

#define FIELD(type, name) union { type name; u64 name##_; }

/* Filled by fast_path.py, in this order; every field has eight bytes. */
struct fast_path {
    u64 enabled;
    FIELD(void *, python);            /* the hook of whatever is not done here */
    FIELD(void *, emu_stop);
    FIELD(void *, uc_ctl);
    FIELD(u64 *, q);
    FIELD(u32 *, d);
    FIELD(u32 *, interrupt_request);
    FIELD(u32 *, int_vector);
    FIELD(int64_t *, budget);
    FIELD(u8 *, memory);
    u64 memory_size;
    /* vCPUs */
    FIELD(u64 *, runstate);
    FIELD(u8 *, paused);
    FIELD(u64 *, local_time);
    FIELD(u64 *, due);
    FIELD(u64 *, entered);
    FIELD(u64 *, time_running);
    FIELD(u64 *, time_blocked);
    FIELD(u64 *, singleshot);
    FIELD(u64 *, poll_deadline);
    FIELD(u64 *, apic_timer);
    FIELD(int32_t *, poll_port);
    FIELD(u64 *, info);
    FIELD(u64 *, hypercalls);
    FIELD(u64 *, events_sent);
    FIELD(u64 *, events_received);
    FIELD(u8 *, own_vector);
    /* domains */
    FIELD(u8 *, kind);
    FIELD(u8 *, width);
    FIELD(u64 *, shared_info);
    FIELD(u32 *, vcpu_base);
    FIELD(u32 *, vcpu_count);
    FIELD(u8 *, via);
    FIELD(u8 *, vector);
    FIELD(u64 *, watchdog);
    FIELD(u16 *, leader);
    FIELD(u16 *, home);               /* of several nodes: what lives on another is fetched first, in Python */
    FIELD(u64 *, loosened);
    FIELD(u8 *, alone);
    FIELD(u64 *, horizon);
    FIELD(u32 *, directory);
    FIELD(u64 *, max_gfn);
    /* event channels */
    FIELD(u8 *, channel_state);
    FIELD(u8 *, consumer);
    FIELD(u16 *, notify_vcpu);
    FIELD(u16 *, remote_dom);
    FIELD(u32 *, remote_port);
    FIELD(u8 *, abi);
    /* grants */
    FIELD(u8 *, grant_version);
    FIELD(u32 *, nr_entries);
    FIELD(u32 *, maptrack_limit);
    FIELD(u32 *, maptrack_head);
    FIELD(u32 *, maptrack_tail);
    FIELD(u64 *, mapped);
    FIELD(u64 *, unmapped);
    FIELD(u64 *, grant_frame);
    FIELD(u32 *, pin);
    FIELD(u16 *, grantee);
    FIELD(u64 *, active_mfn);
    FIELD(u16 *, track_flags);
    FIELD(u16 *, track_domid);
    FIELD(u32 *, track_ref);
    FIELD(u64 *, track_address);
    FIELD(u16 *, owner);
    FIELD(u8 *, frame_kind);
    FIELD(u8 *, frame_flags);
    FIELD(u32 *, refs);
    /* numbers */
    u64 domid, row, vcpu_id, domains, frames, quantum, version, flush_tlb;
    u64 frame_share, ref_share, handle_share, grant_rw, grant_ro, latency;
    FIELD(u8 *, trace);
    u64 trace_size;
    /* what the Python side reads and writes around a slice */
    u64 trace_length;                 /* bytes in `trace` that it has not taken yet */
    u64 limit;                        /* system time when the budget is spent */
    u64 end;                          /* the slice's end that limit stands for */
    u64 slice_end;                    /* the scheduler's */
    u64 shortened;                    /* by how much `limit` was brought nearer */
    u64 touched;                      /* something above has changed */
    u64 apic;                         /* the vector that waits in the APIC, or 0 */
    u64 host_clock;                   /* time is the host's monotonic clock, in nanoseconds since `boot` */
    u64 boot;
    FIELD(u32 *, cpuid);              /* what CPUID answered: fast_instructions.c */
};

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R10 = 10, RIP = 16, EFLAGS = 17, CR0 = 53, CR3 = 56, EFER = 74,
       INTERCEPT = 690, HFLAGS = 44 };
enum { TSC_AUX = 612, OF_RDTSCP = 1 };   /* the second byte of 0F 01 F9, for which the engine exits as for RDTSC */
enum { CPL = 3, INHIBIT = 8, CS64 = 1 << 15 };
enum { TF = 1 << 8, IF = 1 << 9, LMA = 1 << 10, NXE = 1 << 11, LARGE_ZERO = 0x1FE000, VIRQ = 0x100, VINTR = 1 << 4 };
enum { XEN_VERSION = 17, RAM = 1 };
enum { EVENT = 3, UPCALL = 4, HYPERCALL = 16 };
#define FRAME 0xFFFFFFFFFFull
#define PG (1ull << 31)

/* Machine memory is little-endian and may hold anything anywhere. */
static inline u64 load64(struct fast_path *f, u64 at) { u64 v; __builtin_memcpy(&v, f->memory + at, 8); return v; }
static inline void store64(struct fast_path *f, u64 at, u64 v) { __builtin_memcpy(f->memory + at, &v, 8); }
static inline u32 load32(struct fast_path *f, u64 at) { u32 v; __builtin_memcpy(&v, f->memory + at, 4); return v; }
static inline void store32(struct fast_path *f, u64 at, u32 v) { __builtin_memcpy(f->memory + at, &v, 4); }

/* The nested entry of a page of `domid`; 0 where none is present.  `slot`: where its 4 KiB entry is, 0 without one. */
static inline u64 nested(struct fast_path *f, u64 domid, u64 gfn, u64 *slot) {
    *slot = 0;
    if (gfn >> 27 || !f->directory[domid])
        return 0;
    u64 entry = load64(f, ((u64)f->directory[domid] | gfn >> 18) << 3);
    if (!(entry & 1))
        return 0;
    if (entry & 0x80)
        return entry + ((gfn & 0x3FFFF) << 12);
    entry = load64(f, ((entry >> 12 & FRAME) << 12) | (gfn >> 9 & 511) << 3);
    if (!(entry & 1))
        return 0;
    if (entry & 0x80)
        return entry + ((gfn & 511) << 12);
    *slot = ((entry >> 12 & FRAME) << 12) | (gfn & 511) << 3;
    return load64(f, *slot);
}

/* The machine address of a page of a domain's own, 0 for anything else. */
static inline u64 ram(struct fast_path *f, u64 domid, u64 gfn) {
    u64 slot, entry = nested(f, domid, gfn, &slot);
    if (!(entry & 1) || entry >> 52 & 127)
        return 0;
    u64 mfn = entry >> 12 & FRAME;
    return mfn < f->frames && f->frame_kind[mfn] == RAM ? mfn << 12 : 0;
}

/* The machine address of `size` bytes at a guest-linear address in one page, with no bit left to set; else 0.
 * `cr3`: the tables that count. */
static inline u64 linear_in(struct fast_path *f, u64 cr3, u64 address, unsigned size, int write) {
    u64 *q = f->q;
    if (!(q[CR0] & PG) || !(q[EFER] & LMA) || (address & 0xFFF) + size > 4096)
        return 0;
    if (address >> 47 && address >> 47 != 0x1FFFF)
        return 0;
    u64 upper = write ? 0x23 : 0x21, wanted = write ? 0x63 : 0x21, gfn = cr3 >> 12 & FRAME;
    for (int shift = 36; ; shift -= 9) {
        u64 table = ram(f, f->domid, gfn);
        if (!table)
            return 0;
        u64 entry = load64(f, table | (address >> shift & 0xFF8));
        if ((entry & upper) != upper || (entry >> 63 && !(q[EFER] & NXE)))
            return 0;
        gfn = entry >> 12 & FRAME;
        if (shift == 9 || entry & 0x80) {
            if (shift > 18 || (entry & wanted) != wanted || (shift == 18 && entry & LARGE_ZERO))
                return 0;
            if (shift == 18)
                gfn = (gfn & ~511ull) | (address >> 12 & 511);
            break;
        }
    }
    u64 page = ram(f, f->domid, gfn);
    return page ? page | (address & 0xFFF) : 0;
}

static inline u64 linear(struct fast_path *f, u64 address, unsigned size, int write) {
    return linear_in(f, f->q[CR3], address, size, write);
}

static inline void record(struct fast_path *f, u64 time, u32 head, const u64 *words, int count) {
    u8 *at = f->trace + f->trace_length;
    u16 vcpu = (u16)f->vcpu_id;
    __builtin_memcpy(at, &time, 8);
    __builtin_memcpy(at + 8, &head, 4);
    __builtin_memcpy(at + 12, &vcpu, 2);
    __builtin_memcpy(at + 14, words, 8 * (unsigned)count);
    f->trace_length += 14 + 8 * (unsigned)count;
    f->touched = 1;
}

static inline u64 now(struct fast_path *f) {
    if (!f->host_clock)
        return f->local_time[f->row] = f->limit - (u64)*f->budget;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return f->local_time[f->row] = (u64)time.tv_sec * 1000000000 + (u64)time.tv_nsec - f->boot;
}

static inline void flush_tlb(void *uc, struct fast_path *f) {
    ((int (*)(void *, int, ...))f->uc_ctl)(uc, (int)f->flush_tlb);
}

/* An exit by an instruction of fast_instructions.c: was it done? */
int fast_instruction(u32 number, struct fast_path *f);

/* The record of a hypercall; `words` are its arguments and its result. */
static inline void record_hypercall(struct fast_path *f, u64 time, u64 number, const u64 *words, int arguments) {
    f->hypercalls[f->row]++;
    record(f, time, (u32)(HYPERCALL + arguments) | (u32)number << 8, words, arguments + 1);
}

#endif

