"""What must be true of a host's tables whenever all stand still, whoever died before.

Everything is counted here from the start, a domain, a port, a frame at a time, and with none of the code that repairs
(`hypervisor.repair`), so that a mistake there is one that shows here.  Hosts of PVH domains; page tables of PV guests
are not followed, so their references are not counted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy

from abi.grant_table import GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly, GTF_reading, GTF_writing
from abi.types import NEVER, Domid, Mfn, Port, VcpuRow
from grants.interfaces import P2mType
from grants.tables import ActiveTable, GrantDomainTable, GrantFrameTable, GrantStatusTable, MaptrackTable
from hypervisor.event_channel_tables import PORTS, ChannelState, EventChannelTable
from hypervisor.frames import FrameKind, FrameTable
from hypervisor.heap import HeapTable
from hypervisor.hypervisor import Hypervisor
from hypervisor.memory import MemoryTable
from hypervisor.tables import DomainState, GuestKind, RunState

_GRANTED = (P2mType.GRANT_MAP_RW, P2mType.GRANT_MAP_RO)


def violations(hv: Hypervisor) -> list[str]:
    """What is wrong, a line each; empty where all is well."""
    return [*_channels(hv), *_mappings(hv), *_frames(hv), *_heaps(hv), *_vcpus(hv), *_groups(hv)]


def alive(hv: Hypervisor) -> list[Domid]:
    """The domains that run."""
    return [Domid(domid) for domid in range(1, hv.domains.rows) if hv.domains.state[domid] == DomainState.RUNNING]


def _channels(hv: Hypervisor) -> Iterator[str]:
    table, living = hv.state.table(EventChannelTable), {0, *alive(hv)}
    for domid in range(hv.domains.rows):
        valid = hv.events.ports.spaces.valid[domid]
        if domid not in living and valid:
            yield f"domain {domid} is gone and has ports"
        for row in range(domid * PORTS, domid * PORTS + valid):
            port, state = row % PORTS, table.state[row]
            if state == ChannelState.INTERDOMAIN:
                remote, peer = table.remote_dom[row], table.remote_port[row]
                back = remote * PORTS + peer
                if remote not in living:
                    yield f"port {port} of domain {domid} leads to domain {remote}, which is gone"
                elif (table.state[back], table.remote_dom[back], table.remote_port[back]) != (state, domid, port):
                    yield f"port {port} of domain {domid} leads to port {peer} of {remote}, which does not lead back"
            elif state == ChannelState.FREE and (table.consumer[row] or table.remote_dom[row] or table.virq[row]):
                yield f"port {port} of domain {domid} is free, but not clean"
            elif state == ChannelState.UNBOUND and table.consumer[row] and table.remote_dom[row] not in living:
                yield f"port {port} of domain {domid} serves domain {table.remote_dom[row]}, which is gone"


def _handles(hv: Hypervisor) -> Iterator[tuple[Domid, int, int, int, int, int]]:
    """What is mapped: mapper, granter, reference, flags, address, frame."""
    track, active, domains = hv.state.table(MaptrackTable), hv.state.table(ActiveTable), hv.grants.domains
    share, refs = track.rows // domains.rows, active.rows // domains.rows
    for mapper in range(domains.rows):
        for row in range(mapper * share, mapper * share + domains.maptrack_limit[mapper]):
            if track.flags[row]:
                granter, ref = track.domid[row], track.ref[row]
                yield (Domid(mapper), granter, ref, track.flags[row], track.address[row],
                       active.mfn[granter * refs + ref])


def _mappings(hv: Hypervisor) -> Iterator[str]:
    active, domains = hv.state.table(ActiveTable), hv.state.table(GrantDomainTable)
    refs = active.rows // domains.rows
    pins: Counter[tuple[int, int]] = Counter()
    counts: Counter[int] = Counter()
    for mapper, granter, ref, flags, address, mfn in _handles(hv):
        if not domains.version[mapper]:
            yield f"domain {mapper} is gone and has a grant mapped"
        shift = 8 if flags & GNTMAP_readonly else 0
        pins[granter, ref] += bool(flags & GNTMAP_host_map) << shift
        pins[granter, ref] += bool(flags & GNTMAP_device_map) << shift + 16
        counts[mapper] += 1
        if flags & GNTMAP_host_map and hv.domains.kind[mapper] == GuestKind.PVH:
            found = hv.memory.find(mapper, address >> 12)
            if found is None or found[0] != mfn or found[1] not in _GRANTED:
                yield f"domain {mapper} should see frame {mfn} at {address:#x} and does not"
    for domid in range(1, domains.rows):
        held = 0
        pinned = numpy.flatnonzero(numpy.frombuffer(active.pin, numpy.uint32)[domid * refs:(domid + 1) * refs])
        for ref in sorted({*range(domains.nr_entries[domid]), *pinned.tolist(), *(r for d, r in pins if d == domid)}):
            pin, due = active.pin[domid * refs + ref], pins[domid, ref]
            held += due != 0
            if pin != due:
                yield f"grant {ref} of domain {domid} has the pins {pin:#x}, and {due:#x} are due"
            if not due and ref < domains.nr_entries[domid] and _seen(hv, domid, ref) & (GTF_reading | GTF_writing):
                yield f"grant {ref} of domain {domid} is said to be in use"
        if not domains.version[domid] and domains.lingering[domid] != held:
            yield f"domain {domid} lingers for {domains.lingering[domid]} grants, not {held}"
        if domains.mapped[domid] - domains.unmapped[domid] != counts[domid]:
            yield f"domain {domid} has {counts[domid]} grants mapped and counts another number"


def _seen(hv: Hypervisor, domid: int, ref: int) -> int:
    """Where the granter of a grant reads whether it is in use."""
    if hv.grants.domains.version[domid] == 2:
        words, size, per_frame = hv.state.table(GrantStatusTable), 2, 2048
    else:
        words, size, per_frame = hv.state.table(GrantFrameTable), 8, 512  # type: ignore[assignment]
    frame = words.mfn[domid * (words.rows // hv.grants.domains.rows) + ref // per_frame]
    return hv.arena.u16[(frame * 4096 + ref % per_frame * size) // 2]


def _frames(hv: Hypervisor) -> Iterator[str]:
    table, memory, grants = hv.state.table(FrameTable), hv.state.table(MemoryTable), hv.grants.domains
    due: Counter[int] = Counter()
    for _, _, _, flags, _, mfn in _handles(hv):
        due[mfn] += bool(flags & GNTMAP_host_map) + bool(flags & GNTMAP_device_map)
    frames, status = hv.state.table(GrantFrameTable), hv.state.table(GrantStatusTable)
    share = frames.rows // grants.rows
    for domid in alive(hv):
        due[hv.domains.shared_info[domid] >> 12] += 1
        due[memory.map_page[domid] >> 12] += 1
        due.update(frames.mfn[domid * share:domid * share + grants.nr_frames[domid]].tolist())
        if grants.version[domid] == 2:
            first = domid * (status.rows // grants.rows)
            due.update(status.mfn[first:first + (grants.nr_frames[domid] + 7) // 8].tolist())
        for row in _rows(hv, domid):
            if hv.vcpus.info_registered[row]:
                due[hv.vcpus.info[row] >> 12] += 1
    owned: Counter[int] = Counter()
    living = set(alive(hv))
    for mfn in numpy.flatnonzero(numpy.frombuffer(table.kind, numpy.uint8)).tolist():
        kind, owner = table.kind[mfn], table.owner[mfn]
        if kind not in (FrameKind.RAM, FrameKind.XENHEAP):
            continue
        owned[owner] += kind == FrameKind.RAM
        if table.refs[mfn] != due[mfn]:
            yield f"frame {mfn} of domain {owner} has {table.refs[mfn]} references, and {due[mfn]} are due"
        if owner not in living and not due[mfn]:
            yield f"frame {mfn} of domain {owner}, which is gone, is lost"
        if owner in living and not table.flags[mfn] and not due[mfn]:
            yield f"frame {mfn} of domain {owner} is nobody's, and lost"
    for domid in map(Domid, range(1, hv.domains.rows)):
        if hv.domains.tot_pages[domid] != owned[domid]:
            yield f"domain {domid} owns {owned[domid]} frames and counts {hv.domains.tot_pages[domid]}"


def _heaps(hv: Hypervisor) -> Iterator[str]:
    table, heaps, living = hv.state.table(FrameTable), hv.state.table(HeapTable), set(alive(hv))
    free: defaultdict[int, set[int]] = defaultdict(set)
    pool: defaultdict[int, set[int]] = defaultdict(set)
    sizes: Counter[int] = Counter()
    for mfn in range(table.rows):
        row = table.heap[mfn]
        if mfn >= heaps.pool_end[0]:
            sizes[row] += 1
        if table.kind[mfn] == FrameKind.FREE:
            (free if mfn >= heaps.pool_end[0] else pool)[row].add(mfn)
    for row in range(1, heaps.rows):
        if not heaps.frames[row]:
            continue
        listed: list[int] = []
        for first in (heaps.small[row], heaps.large[row]):
            while first and len(listed) <= sizes[row]:
                length = table.extent[first]
                listed += range(first, first + length)
                if table.extent[first + length - 1] != length:
                    yield f"the free extent at {first} has two lengths"
                first = table.next[first]
        if sorted(listed) != sorted(free[row]):
            yield f"the heap of domain {row} lists {len(listed)} frames, and {len(free[row])} are free"
        if not heaps.free[row] == len(free[row]) <= sizes[row] == heaps.frames[row]:
            yield f"the heap of domain {row} counts {heaps.free[row]} free frames, and {len(free[row])} are"
        if row not in living:
            single: list[int] = []
            first = heaps.pool_free[row]
            while first and len(single) <= len(pool[row]):
                single.append(first)
                first = table.next[first]
            single += range(heaps.pool_unused[row], heaps.pool_end[row])
            if sorted(single) != sorted(pool[row]):
                yield f"domain {row}'s part of the pool lists {len(single)} frames, and {len(pool[row])} are free"
        dirty = [mfn for mfn in (*free[row], *pool[row])
                 if numpy.frombuffer(hv.arena.page(Mfn(mfn)), numpy.uint64).any()]
        if dirty:
            yield f"frame {dirty[0]} is free, and not zero"


def _vcpus(hv: Hypervisor) -> Iterator[str]:
    for domid in alive(hv):
        for row in _rows(hv, domid):
            vcpus = hv.vcpus
            state, due = vcpus.runstate[row], vcpus.due[row]
            if state == RunState.RUNNING:
                yield f"a vCPU of domain {domid} runs while all stand still"
            if state == RunState.RUNNABLE and not vcpus.paused[row] and due != vcpus.local_time[row]:
                yield f"a vCPU of domain {domid} can run at {vcpus.local_time[row]} and is due at {due}"
            if state == RunState.BLOCKED and due == NEVER and vcpus.singleshot[row] != NEVER:
                yield f"a vCPU of domain {domid} waits for a timer that nobody will look at"
            if state != RunState.BLOCKED and vcpus.poll_port[row]:
                yield f"a vCPU of domain {domid} is awake and polls"
            polled = Port(vcpus.poll_port[row])
            if state == RunState.BLOCKED and polled > 0 and hv.events.is_pending(domid, polled):
                yield f"a vCPU of domain {domid} polls port {polled}, which is pending, and sleeps"
            times = vcpus.time_running[row] + vcpus.time_runnable[row] + vcpus.time_blocked[row] \
                + vcpus.time_offline[row]
            if times != vcpus.state_entry_time[row]:
                yield f"the times of a vCPU of domain {domid} add up to {times}, not {vcpus.state_entry_time[row]}"
        yield from _unheard(hv, domid)


def _unheard(hv: Hypervisor, domid: Domid) -> Iterator[str]:
    channels, abi = hv.state.table(EventChannelTable), hv.events.ports.abi(domid)
    width = hv.domains.width[domid]
    for port in range(1, hv.events.ports.spaces.valid[domid]):
        row = domid * PORTS + port
        if channels.state[row] <= ChannelState.RESERVED or channels.consumer[row] \
                or not abi.is_pending(domid, port) or abi.is_masked(domid, port):  # type: ignore[arg-type]
            continue
        vcpu = hv.domains.vcpu_base[domid] + channels.notify_vcpu[row]
        info = hv.vcpus.info[vcpu]
        selector = info + width // 8 + (port // width >> 3)
        if info and not (hv.arena.u8[info] & 1 and hv.arena.u8[selector] >> (port // width & 7) & 1):
            yield f"port {port} of domain {domid} is pending, and its vCPU was not told"


def _groups(hv: Hypervisor) -> Iterator[str]:
    leaders = hv.groups.table.leader
    for domid in alive(hv):
        for other in hv.groups.links(domid):
            if other and leaders[other] != leaders[domid]:
                yield f"domains {domid} and {other} are linked, and not in one group"


def _rows(hv: Hypervisor, domid: Domid) -> list[VcpuRow]:
    first = hv.domains.vcpu_base[domid]
    return [VcpuRow(row) for row in range(first, first + hv.domains.vcpu_count[domid])]
