"""The native front of a vCPU's exits, filled with where everything is; of PVH vCPUs: `fast_path.c`.

It does the commonest exits by itself, on the same tables and with the same trace, and calls the vCPU's Python hook for
all others.  A null hypercall through Python takes 3 us, here a tenth of one.  It serves virtual time at 1 GHz, where a
cycle is a nanosecond; every other clock goes the long way.
"""

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unicorn.unicorn_py3.unicorn import uclib

from abi.xen import Hypercall
from clock.source import HostClock
from domains.host_code import HostCodeError, load
from grants.interfaces import P2mType
from grants.tables import ActiveTable, GrantDomainTable, GrantFrameTable, MaptrackTable
from hypervisor.event_channel_tables import EventChannelTable, PortSpaceTable
from hypervisor.frames import FrameTable
from hypervisor.groups import GroupTable
from hypervisor.p2m import P2mTable, leaf
from hypervisor.place import PlaceTable
from hypervisor.rounds import LATENCY
from hypervisor.watchdog import WatchdogTable

if TYPE_CHECKING:
    from domains.vcpu import Vcpu

SERVED = (Hypercall.xen_version, Hypercall.grant_table_op, Hypercall.event_channel_op)
"""The hypercalls of which the front does some; a user's own row for one of them turns it off."""
_FILES = ("fast_path.c", "fast_instructions.c", "pv_front.c", "pv_front_memory.c")
_TRACE_SIZE = 1 << 16
_CPUID_ROWS, _CPUID_WORDS = 32, 7
NAMES: tuple[str, ...] = (
    "enabled", "python", "emu_stop", "uc_ctl", "q", "d", "interrupt_request", "int_vector", "budget", "memory",
    "memory_size", "runstate", "paused", "local_time", "due", "entered", "time_running", "time_blocked",
    "singleshot", "poll_deadline", "apic_timer", "poll_port", "info", "hypercalls", "events_sent", "events_received",
    "own_vector", "kind", "width", "shared_info", "vcpu_base", "vcpu_count", "via", "vector", "watchdog",
    "leader", "home", "loosened", "alone", "horizon",
    "directory", "max_gfn", "channel_state", "consumer", "notify_vcpu", "remote_dom", "remote_port", "abi",
    "grant_version", "nr_entries", "maptrack_limit", "maptrack_head", "maptrack_tail", "mapped", "unmapped",
    "grant_frame", "pin", "grantee", "active_mfn", "track_flags", "track_domid", "track_ref", "track_address",
    "owner", "frame_kind", "frame_flags", "refs", "domid", "row", "vcpu_id", "domains", "frames", "quantum",
    "version", "flush_tlb", "frame_share", "ref_share", "handle_share", "grant_rw", "grant_ro", "latency", "trace",
    "trace_size", "trace_length", "limit", "end", "slice_end", "shortened", "touched", "apic",
    "host_clock", "boot", "cpuid",
)


def structure(names: Sequence[str]) -> type[ctypes.Structure]:
    """A structure of 64-bit fields: struct fast_path, or one that begins with it."""
    return type("_Fields", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_uint64) for name in names]})


def load_fast_path() -> ctypes.CDLL | None:
    """The library; None where it is turned off by DOMUS_FAST_PATH=0, or cannot be built here."""
    if os.environ.get("DOMUS_FAST_PATH") == "0":
        return None
    try:
        library = load(*(Path(__file__).with_name(name) for name in _FILES), kind=ctypes.PyDLL)
    except HostCodeError:
        return None
    library.domus_arm.restype = None
    return library


def _address(view: "memoryview[Any] | bytearray") -> int:
    flat = view.cast("B") if isinstance(view, memoryview) else view
    return ctypes.addressof(ctypes.c_char.from_buffer(flat))


class FastPath:
    """One vCPU's front.  `hook` and `data` are for the engine; it does nothing before `fill`."""

    names = NAMES
    served: tuple[Hypercall, ...] = SERVED
    size = "domus_size"
    exit = "domus_exit"

    def __init__(self, library: ctypes.CDLL) -> None:
        fields = structure(self.names)
        size = library[self.size]
        size.restype = ctypes.c_uint64
        assert size() == ctypes.sizeof(fields)
        self._fields = fields()
        self._words = memoryview(self._fields).cast("B").cast("Q")
        self._trace = bytearray(_TRACE_SIZE)
        self._cpuid = memoryview(bytearray(_CPUID_ROWS * _CPUID_WORDS * 4)).cast("I")
        self.hook = library[self.exit]
        self.data = ctypes.byref(self._fields)
        self._arm = library.domus_arm
        self._limit, self._end, self._slice_end, self._shortened, touched, self._length = (
            NAMES.index(name) for name in ("limit", "end", "slice_end", "shortened", "touched", "trace_length"))
        self.touched = self._words[touched:touched + 1]
        """[0] is not 0 where there is something to `collect`."""
        apic = NAMES.index("apic")
        self.apic = self._words[apic:apic + 1]
        """[0] is the vector that waits in the APIC of a PVH vCPU; while there is one, nothing is done here."""
        self._wanted = False

    def set_python(self, hook: object) -> None:
        """The hook for what is not done here: a ctypes function of the same type."""
        self._fields.python = ctypes.cast(hook, ctypes.c_void_p).value  # type: ignore[arg-type]

    def fill(self, vcpu: "Vcpu", flush_tlb: int) -> None:
        """Point to everything, and begin."""
        hv, engine, table = vcpu.hv, vcpu.engine, vcpu.hv.state.table
        channels, grants, frames = table(EventChannelTable), table(GrantDomainTable), table(FrameTable)
        active, track, groups = table(ActiveTable), table(MaptrackTable), table(GroupTable)
        vcpus, domains, p2m = hv.vcpus, hv.domains, table(P2mTable)
        columns: dict[str, Any] = {
            "q": engine.q, "d": engine.d, "interrupt_request": engine.interrupt_request, "budget": engine.budget,
            "int_vector": engine.int_vector, "memory": hv.arena.u8, "entered": vcpus.state_entry_time,
            "own_vector": hv.params.upcall_vector, "via": domains.callback_via_type, "vector": domains.callback_vector,
            "watchdog": table(WatchdogTable).earliest, "leader": groups.leader, "home": table(PlaceTable).home,
            "loosened": groups.loosened, "alone": hv.host.alone, "horizon": hv.host.horizon,
            "directory": p2m.directory, "max_gfn": p2m.max_gfn,
            "channel_state": channels.state, "consumer": channels.consumer, "notify_vcpu": channels.notify_vcpu,
            "remote_dom": channels.remote_dom, "remote_port": channels.remote_port,
            "abi": table(PortSpaceTable).abi, "grant_version": grants.version,
            "grant_frame": table(GrantFrameTable).mfn, "pin": active.pin, "grantee": active.domid,
            "active_mfn": active.mfn, "track_flags": track.flags, "track_domid": track.domid, "track_ref": track.ref,
            "track_address": track.address, "owner": frames.owner, "frame_kind": frames.kind,
            "frame_flags": frames.flags, "refs": frames.refs, "trace": self._trace,
            "cpuid": self._cpuid,
        }
        for source, names in (
                (vcpus, "runstate paused local_time due time_running time_blocked singleshot poll_deadline apic_timer "
                        "poll_port info hypercalls events_sent events_received"),
                (domains, "kind width shared_info vcpu_base vcpu_count"),
                (grants, "nr_entries maptrack_limit maptrack_head maptrack_tail mapped unmapped")):
            columns |= {name: getattr(source, name) for name in names.split()}
        numbers = {
            "emu_stop": ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value or 0,
            "uc_ctl": ctypes.cast(uclib.uc_ctl, ctypes.c_void_p).value or 0, "flush_tlb": flush_tlb,
            "memory_size": hv.arena.size, "domid": vcpu.domid, "row": vcpu.vcpu,
            "vcpu_id": vcpus.vcpu_id[vcpu.vcpu], "domains": grants.rows, "frames": frames.rows,
            "quantum": hv.sched.quantum, "version": hv.version.number,
            "frame_share": table(GrantFrameTable).rows // grants.rows, "ref_share": active.rows // grants.rows,
            "handle_share": track.rows // grants.rows, "grant_rw": leaf(P2mType.GRANT_MAP_RW),
            "grant_ro": leaf(P2mType.GRANT_MAP_RO), "latency": LATENCY, "trace_size": _TRACE_SIZE,
            "host_clock": not hv.clock.virtual, "boot": hv.clock.boot if isinstance(hv.clock, HostClock) else 0,
        }
        self._set(columns, numbers)
        rows = hv.dispatcher.rows
        self._wanted = not any(rows[number].source for number in self.served)
        self.enable(True)

    def _set(self, columns: Mapping[str, Any], numbers: Mapping[str, int]) -> None:
        for name, column in columns.items():
            setattr(self._fields, name, _address(column))
        for name, number in numbers.items():
            setattr(self._fields, name, number)

    def select(self, row: int, vcpu_id: int) -> None:
        """This vCPU of the domain is the one in the engine."""
        self._set({}, {"row": row, "vcpu_id": vcpu_id})

    def enable(self, on: bool) -> None:
        """Go on, or leave every exit to Python; before `fill` that is so in any case."""
        self._fields.enabled = on and self._wanted

    def begin(self, limit: int, end: int) -> None:
        """A slice begins: its end, and the system time at which the budget will be spent."""
        words = self._words
        words[self._limit], words[self._end], words[self._slice_end], words[self._shortened] = limit, end, end, 0

    def remember_cpuid(self, leaf: int, subleaf: int, registers: Sequence[int]) -> None:
        """What CPUID answers there, now and always."""
        at = (leaf + (leaf >> 28) + subleaf) % (1 << 32) % _CPUID_ROWS * _CPUID_WORDS
        for index, word in enumerate((leaf, subleaf, 1, *registers), at):
            self._cpuid[index] = word

    def arm_upcall(self) -> bool:
        """As `PvhVcpu.arm_upcall`; False where it is not on."""
        if not self._fields.enabled:
            return False
        self._arm(self.data)
        return True

    def slice_end(self, limit: int, end: int) -> None:
        """The Python side shortened the slice."""
        words = self._words
        words[self._limit], words[self._end], words[self._slice_end] = limit, end, end

    def collect(self, trace: bytearray) -> tuple[int, int]:
        """Take over what was done here: records are appended to `trace`; how much shorter the slice is, and its end."""
        words = self._words
        length = words[self._length]
        if length:
            trace += memoryview(self._trace)[:length]
            words[self._length] = 0
        shortened, words[self._shortened], self.touched[0] = words[self._shortened], 0, 0
        return shortened, words[self._slice_end]
