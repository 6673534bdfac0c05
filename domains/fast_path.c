/*
 * The commonest exits of a PVH vCPU, in native code: XENVER_version, EVTCHNOP_send between two domains, mapping and
 * unmapping one grant, and a HLT that blocks.  Those by instructions are in fast_instructions.c.
 */
#include "front.h"

enum { EXIT_HLT = 0x178, EXIT_VINTR = 0x164, EXIT_VMMCALL = 0x181 };
enum { RUNNING, RUNNABLE, BLOCKED };
enum { INTERDOMAIN = 3, PORTS = 4096, PENDING = 0x800, VECTOR = 2 };
enum { GRANT_TABLE_OP = 20, EVENT_CHANNEL_OP = 32, SEND = 4, MAP = 0, UNMAP = 1 };
enum { HOST_MAP = 2, READONLY = 4, GTF_PERMIT = 1, GTF_READONLY = 4, GTF_READING = 8, GTF_WRITING = 16,
       GTF_CHECKED = 0x103 };
enum { HOST_WRITE = 1, HOST_READ = 1 << 8, XENHEAP = 2 };
#define NEVER (~(u64)0)
#define NO_HANDLE 0xFFFFFFFFu

/* The process may be killed at any instruction.  Most of what it then leaves half done can be told from the rest
 * (hypervisor/repair.py); where the order of two writes counts, the compiler must keep it. */
static void in_order(void) {
    __asm__ volatile("" ::: "memory");
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
    u64 at = f->local_time[row], mine = f->local_time[f->row];
    if (mine > at)
        at = f->local_time[row] = mine;
    f->time_blocked[row] += at - f->entered[row];
    f->entered[row] = at;
    f->runstate[row] = RUNNABLE;
    f->due[row] = at;
    in_order();
    if (f->poll_port[row])            /* in a line with other domains' */
        f->poll_port[row] = 0;
    f->poll_deadline[row] = NEVER;
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
        wake(f, vcpu);
        in_order();
        f->poll_port[vcpu] = 0;
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

/* Hypervisor._loosened: a link may have gone, and the only group ends the round when that is to be looked at. */
static void loosen(struct fast_path *f) {
    if (f->loosened[f->domid])
        return;
    u64 when = f->loosened[f->domid] = f->local_time[f->row] + f->latency;
    if (*f->alone && when < *f->horizon)
        *f->horizon = when;
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
    flush_tlb(uc, f);
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
    loosen(f);
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
    u64 words[4] = {q[RDI], q[RSI], q[RDX], result};
    words[arguments] = result;
    record_hypercall(f, time, number, words, arguments);
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
    if (f->apic_timer[row] < timer)
        timer = f->apic_timer[row];
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
    if (f->enabled && !f->apic && f->trace_size - f->trace_length >= 256) {
        if (number == EXIT_VMMCALL)
            done = hypercall(uc, f);
        else if (number == EXIT_HLT)
            done = halt(uc, f);
        else if (number == EXIT_VINTR)
            done = window(f);
        else
            done = fast_instruction(number, f);
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
