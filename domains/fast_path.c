/*
 * The commonest exits of a PVH vCPU, in native code: XENVER_version, EVTCHNOP_send between two domains, mapping and
 * unmapping one grant, and a HLT that blocks.  They work on the same flat tables as the Python state machines, do what
 * those would do, and leave to them every case that is not the plain one, before anything has been changed.
 *
 * Whatever happens here is in the trace, so a run has the same digest with this file and without it; the tests run
 * every scenario both ways.  The names are those of the Python code: look there for what each step means.
 */
#include <stdint.h>

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
    FIELD(u8 *, runstate);
    FIELD(u8 *, paused);
    FIELD(u64 *, local_time);
    FIELD(u64 *, due);
    FIELD(u64 *, entered);
    FIELD(u64 *, time_running);
    FIELD(u64 *, time_blocked);
    FIELD(u64 *, singleshot);
    FIELD(u64 *, poll_deadline);
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
    FIELD(u16 *, home);               /* nodes: what is another one's is fetched first, in Python */
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
    u64 frame_share, ref_share, handle_share, grant_rw, grant_ro;
    FIELD(u8 *, trace);
    u64 trace_size;
    /* what the Python side reads and writes around a slice */
    u64 trace_length;                 /* bytes in `trace` that it has not taken yet */
    u64 limit;                        /* system time when the budget is spent */
    u64 end;                          /* the slice's end that limit stands for */
    u64 slice_end;                    /* the scheduler's */
    u64 shortened;                    /* by how much `limit` was brought nearer */
    u64 touched;                      /* something above has changed */
};

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R10 = 10, RIP = 16, EFLAGS = 17, CR0 = 53, CR3 = 56, EFER = 74,
       INTERCEPT = 690, HFLAGS = 44 };
enum { CPL = 3, INHIBIT = 8, CS64 = 1 << 15 };
enum { TF = 1 << 8, IF = 1 << 9, LMA = 1 << 10, NXE = 1 << 11, LARGE_ZERO = 0x1FE000, VIRQ = 0x100, VINTR = 1 << 4 };
enum { EXIT_HLT = 0x178, EXIT_VINTR = 0x164, EXIT_VMMCALL = 0x181 };
enum { RUNNING, RUNNABLE, BLOCKED };
enum { INTERDOMAIN = 3, PORTS = 4096, PENDING = 0x800, VECTOR = 2 };
enum { EVENT = 3, UPCALL = 4, HYPERCALL = 16 };
enum { XEN_VERSION = 17, GRANT_TABLE_OP = 20, EVENT_CHANNEL_OP = 32, SEND = 4, MAP = 0, UNMAP = 1 };
enum { HOST_MAP = 2, READONLY = 4, GTF_PERMIT = 1, GTF_READONLY = 4, GTF_READING = 8, GTF_WRITING = 16,
       GTF_CHECKED = 0x103 };
enum { HOST_WRITE = 1, HOST_READ = 1 << 8, XENHEAP = 2 };
#define NEVER (~(u64)0)
#define NO_HANDLE 0xFFFFFFFFu
#define FRAME 0xFFFFFFFFFFull
#define PG (1ull << 31)

/* Machine memory is little-endian and may hold anything anywhere. */
static u64 load64(struct fast_path *f, u64 at) { u64 v; __builtin_memcpy(&v, f->memory + at, 8); return v; }
static void store64(struct fast_path *f, u64 at, u64 v) { __builtin_memcpy(f->memory + at, &v, 8); }
static u32 load32(struct fast_path *f, u64 at) { u32 v; __builtin_memcpy(&v, f->memory + at, 4); return v; }
static void store32(struct fast_path *f, u64 at, u32 v) { __builtin_memcpy(f->memory + at, &v, 4); }

/* The nested entry of a page of `domid`; 0 where none is present.  `slot`: where its 4 KiB entry is, 0 without one. */
static u64 nested(struct fast_path *f, u64 domid, u64 gfn, u64 *slot) {
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

/* The machine address of a page of plain RAM, 0 for anything else. */
static u64 ram(struct fast_path *f, u64 domid, u64 gfn) {
    u64 slot, entry = nested(f, domid, gfn, &slot);
    if (!(entry & 1) || entry >> 52 & 127)
        return 0;
    u64 at = (entry >> 12 & FRAME) << 12;
    return at < f->memory_size ? at : 0;
}

/* The machine address of `size` bytes at a guest-linear address in one page, with no bit left to set; else 0. */
static u64 linear(struct fast_path *f, u64 address, unsigned size, int write) {
    u64 *q = f->q;
    if (!(q[CR0] & PG) || !(q[EFER] & LMA) || (address & 0xFFF) + size > 4096)
        return 0;
    if (address >> 47 && address >> 47 != 0x1FFFF)
        return 0;
    u64 upper = write ? 0x23 : 0x21, wanted = write ? 0x63 : 0x21, gfn = q[CR3] >> 12 & FRAME;
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

static void record(struct fast_path *f, u64 time, u32 head, const u64 *words, int count) {
    u8 *at = f->trace + f->trace_length;
    u16 vcpu = (u16)f->vcpu_id;
    __builtin_memcpy(at, &time, 8);
    __builtin_memcpy(at + 8, &head, 4);
    __builtin_memcpy(at + 12, &vcpu, 2);
    __builtin_memcpy(at + 14, words, 8 * (unsigned)count);
    f->trace_length += 14 + 8 * (unsigned)count;
    f->touched = 1;
}

static u64 now(struct fast_path *f) {
    return f->local_time[f->row] = f->limit - (u64)*f->budget;
}

static void stop(void *uc, struct fast_path *f) {
    ((int (*)(void *))f->emu_stop)(uc);
}

/* ---- events */

static u64 pending_vector(struct fast_path *f) {
    if (!f->memory[f->info[f->row]])
        return 0;
    if (f->own_vector[f->row])
        return f->own_vector[f->row];
    return f->via[f->domid] == VECTOR ? f->vector[f->domid] : 0;
}

static void request(struct fast_path *f, u64 vector, int intercept) {
    *f->int_vector = (u32)vector;
    if (intercept)
        f->q[INTERCEPT] |= VINTR;
    else
        f->q[INTERCEPT] &= ~(u64)VINTR;
    *f->interrupt_request |= VIRQ;
}

static void take_upcall(struct fast_path *f, u64 vector) {
    u64 words[2] = {vector, 0};
    f->events_received[f->row]++;
    record(f, f->local_time[f->row], UPCALL, words, 2);
    request(f, vector, 0);
}

static void arm_upcall(struct fast_path *f) {
    u64 vector = pending_vector(f);
    if (!vector)
        return;
    if (f->q[EFLAGS] & IF && !(f->d[HFLAGS] & INHIBIT))
        take_upcall(f, vector);
    else
        request(f, vector, 1);
}

static void wake(struct fast_path *f, u64 row) {
    if (f->runstate[row] != BLOCKED)
        return;
    f->poll_port[row] = 0;
    f->poll_deadline[row] = NEVER;
    u64 at = f->local_time[row], mine = f->local_time[f->row];
    if (mine > at)
        at = f->local_time[row] = mine;
    f->time_blocked[row] += at - f->entered[row];
    f->entered[row] = at;
    f->runstate[row] = RUNNABLE;
    f->due[row] = at;
    if (at + f->quantum < f->slice_end) {
        f->slice_end = at + f->quantum;
        f->touched = 1;
    }
}

static int send(struct fast_path *f, u64 time, u64 argument) {
    u64 at = linear(f, argument, 4, 0);
    if (!at)
        return 0;
    u64 port = load32(f, at);
    if (port >= PORTS)
        return 0;
    u64 row = f->domid * PORTS + port;
    if (f->consumer[row] || f->channel_state[row] != INTERDOMAIN)
        return 0;
    u64 domid = f->remote_dom[row], peer = f->remote_port[row];
    row = domid * PORTS + peer;
    if (f->consumer[row] || f->abi[domid] || f->vcpu_count[domid] != 1)
        return 0;
    u64 info = f->shared_info[domid], vcpu = f->vcpu_base[domid], bit = 1u << (peer & 7);
    if (f->notify_vcpu[row] || f->paused[vcpu])
        return 0;
    f->events_sent[f->row]++;
    u64 pending = info + PENDING + (peer >> 3);
    if (!info || f->memory[pending] & bit)
        return 1;
    f->memory[pending] |= bit;
    u64 width = f->width[domid];
    if (!(f->memory[info + PENDING + (width == 64 ? 512 : 128) + (peer >> 3)] & bit) && f->info[vcpu]) {
        u64 word = peer / width, selector = f->info[vcpu] + (width == 64 ? 8 : 4) + (word >> 3);
        u8 selected = 1u << (word & 7);
        if (!(f->memory[selector] & selected)) {
            f->memory[selector] |= selected;
            if (!(f->memory[f->info[vcpu]] & 1)) {
                f->memory[f->info[vcpu]] |= 1;
                wake(f, vcpu);
            }
        }
    }
    u64 words[2] = {domid, peer};
    record(f, time, EVENT, words, 2);
    int32_t polled = f->poll_port[vcpu];
    if (polled && (polled == (int32_t)peer || polled < 0)) {
        f->poll_port[vcpu] = 0;
        wake(f, vcpu);
    }
    return 1;
}

/* ---- grants */

static int map_grant(struct fast_path *f, u64 argument) {
    u64 in = linear(f, argument, 32, 0), out = linear(f, argument, 32, 1), domid = f->domid;
    if (!in || !out)
        return 0;
    u64 address = load64(f, in), granter = load32(f, in + 16) & 0xFFFF, slot;
    u32 flags = load32(f, in + 8), ref = load32(f, in + 12);
    if ((flags & ~(u32)READONLY) != HOST_MAP || granter >= f->domains || f->kind[granter] ||
        f->leader[granter] != f->leader[domid] || f->home[granter] != f->home[domid] ||
        f->grant_version[granter] != 1 || ref >= f->nr_entries[granter])
        return 0;
    u32 handle = f->maptrack_head[domid];
    if (handle == NO_HANDLE)
        return 0;
    u64 track = domid * f->handle_share + handle, active = granter * f->ref_share + ref;
    if (f->track_ref[track] == NO_HANDLE || f->pin[active])
        return 0;
    int readonly = flags & READONLY;
    u64 entry = (f->grant_frame[granter * f->frame_share + (ref >> 9)] << 12) | (u64)(ref & 511) << 3;
    u32 header = load32(f, entry);
    if ((header & (0xFFFF0000u | GTF_CHECKED)) != ((u32)domid << 16 | GTF_PERMIT) || (!readonly && header & GTF_READONLY))
        return 0;
    u64 page = ram(f, granter, load32(f, entry + 4)), mfn = page >> 12;
    if (!page || mfn >= f->frames || f->owner[mfn] != granter || !f->frame_kind[mfn])
        return 0;
    u64 gfn = address >> 12;
    if (nested(f, domid, gfn, &slot) || !slot || gfn > f->max_gfn[domid])
        return 0;
    f->maptrack_head[domid] = f->track_ref[track];
    store32(f, entry, header | GTF_READING | (readonly ? 0 : GTF_WRITING));
    f->refs[mfn]++;
    f->active_mfn[active] = mfn;
    f->grantee[active] = (u16)domid;
    f->pin[active] = readonly ? HOST_READ : HOST_WRITE;
    store64(f, slot, mfn << 12 | (readonly ? f->grant_ro : f->grant_rw));
    f->track_domid[track] = (u16)granter;
    f->track_ref[track] = ref;
    f->track_address[track] = address;
    f->track_flags[track] = (u16)flags;
    f->mapped[domid]++;
    f->memory[out + 18] = f->memory[out + 19] = 0;
    store32(f, out + 20, handle);
    store64(f, out + 24, mfn << 12);
    return 1;
}

static int unmap_grant(void *uc, struct fast_path *f, u64 argument) {
    u64 in = linear(f, argument, 24, 0), out = linear(f, argument, 24, 1), domid = f->domid, slot;
    if (!in || !out)
        return 0;
    u64 address = load64(f, in);
    u32 handle = load32(f, in + 16);
    if (!address || handle >= f->maptrack_limit[domid])
        return 0;
    u64 track = domid * f->handle_share + handle;
    u16 flags = f->track_flags[track];
    if ((flags & ~READONLY) != HOST_MAP)
        return 0;
    u64 granter = f->track_domid[track], ref = f->track_ref[track], active = granter * f->ref_share + ref;
    u64 mfn = f->active_mfn[active], entry = nested(f, domid, address >> 12, &slot);
    if (f->kind[granter] || f->home[granter] != f->home[domid] || f->grant_version[granter] != 1 || !slot ||
        (entry != (mfn << 12 | f->grant_rw) && entry != (mfn << 12 | f->grant_ro)))
        return 0;
    if (f->pin[active] != (flags & READONLY ? HOST_READ : HOST_WRITE) || !f->frame_flags[mfn] ||
        f->frame_kind[mfn] == XENHEAP)
        return 0;
    store64(f, slot, 0);
    ((int (*)(void *, int, ...))f->uc_ctl)(uc, (int)f->flush_tlb);
    f->track_flags[track] = 0;
    f->track_ref[track] = NO_HANDLE;
    f->track_ref[domid * f->handle_share + f->maptrack_tail[domid]] = handle;
    f->maptrack_tail[domid] = handle;
    f->unmapped[domid]++;
    f->pin[active] = 0;
    u64 at = (f->grant_frame[granter * f->frame_share + (ref >> 9)] << 12) | (ref & 511) << 3;
    store32(f, at, load32(f, at) & ~(u32)(GTF_READING | (flags & READONLY ? 0 : GTF_WRITING)));
    f->refs[mfn]--;
    f->memory[out + 20] = f->memory[out + 21] = 0;
    return 1;
}

/* ---- exits */

static int hypercall(void *uc, struct fast_path *f) {
    u64 *q = f->q;
    if ((f->d[HFLAGS] & (CPL | CS64 | INHIBIT)) != CS64 || q[EFLAGS] & TF)
        return 0;
    u64 number = q[RAX], result = 0, time = now(f);
    u32 command = (u32)q[RDI];
    int arguments = 2, done = 0;
    if (number == EVENT_CHANNEL_OP && command == SEND) {
        done = send(f, time, q[RSI]);
    } else if (number == XEN_VERSION && command == 0) {
        result = f->version;
        done = 1;
    } else if (number == GRANT_TABLE_OP && (u32)q[RDX] == 1) {
        arguments = 3;
        done = command == MAP ? map_grant(f, q[RSI]) : command == UNMAP ? unmap_grant(uc, f, q[RSI]) : 0;
    }
    if (!done)
        return 0;
    f->hypercalls[f->row]++;
    u64 words[4] = {q[RDI], q[RSI], q[RDX], result};
    words[arguments] = result;
    record(f, time, (u32)(HYPERCALL + arguments) | (u32)number << 8, words, arguments + 1);
    q[RAX] = result;
    q[RIP] += 3;
    if (f->slice_end != f->end) {
        u64 shortened = f->end - f->slice_end;
        f->shortened += shortened;
        f->limit -= shortened;
        *f->budget -= (int64_t)shortened;
        f->end = f->slice_end;
    }
    arm_upcall(f);
    return 1;
}

static int halt(void *uc, struct fast_path *f) {
    u64 *q = f->q, row = f->row;
    if ((f->d[HFLAGS] & (CPL | CS64)) != CS64 || q[EFLAGS] & TF || !(q[EFLAGS] & IF) || f->runstate[row] != RUNNING)
        return 0;
    u64 time = now(f);
    q[RIP] += 1;
    f->d[HFLAGS] &= ~(u32)INHIBIT;
    if (pending_vector(f)) {
        arm_upcall(f);
        return 1;
    }
    f->time_running[row] += time - f->entered[row];
    f->entered[row] = time;
    f->runstate[row] = BLOCKED;
    u64 timer = f->singleshot[row], watchdog = f->watchdog[f->domid];
    if (f->poll_deadline[row] < timer)
        timer = f->poll_deadline[row];
    if (watchdog && watchdog < timer)
        timer = watchdog;
    f->due[row] = timer > time ? timer : time;
    stop(uc, f);
    return 1;
}

static int window(struct fast_path *f) {
    u64 vector = pending_vector(f);
    if (vector) {
        now(f);
        take_upcall(f, vector);
    } else {
        *f->interrupt_request &= ~(u32)VIRQ;
    }
    return 1;
}

/* The UC_HOOK_INTR hook. */
void domus_exit(void *uc, u32 number, struct fast_path *f) {
    int done = 0;
    if (f->enabled && f->trace_size - f->trace_length >= 256) {
        if (number == EXIT_VMMCALL)
            done = hypercall(uc, f);
        else if (number == EXIT_HLT)
            done = halt(uc, f);
        else if (number == EXIT_VINTR)
            done = window(f);
    }
    if (!done)
        ((void (*)(void *, u32, void *))f->python)(uc, number, 0);
}

/* A slice begins and something is pending: as PvhVcpu.arm_upcall. */
void domus_arm(struct fast_path *f) {
    arm_upcall(f);
}

/* For fast_path.py to see that both mean the same structure. */
u64 domus_size(void) { return sizeof(struct fast_path); }
