"""A domain's vCPUs as bytes: all that their process keeps of them and that does not lie in the host's shared bytes.

To be taken between two slices; then most of what a vCPU has is empty, and is asserted to be.  What is derived from the
host's bytes (translations, the walker's memory, the engine's code) is not kept.  The bytes are for this version of
the program and of Unicorn, which the keeper has to see to.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped, unused-ignore]

from abi.types import VcpuRow
from domains.engine_state import EngineState
from domains.native import BlockMeter
from domains.pv_start import initialise
from domains.pv_turns import Turns, TurnsState
from domains.pv_vcpu import PvVcpu
from domains.pvh_turns import PvhTurnsState
from domains.pvh_vcpu import PvhVcpu
from domains.pvh_vcpus import make_pvh_vcpus
from domains.vcpu import Vcpu, VcpuState
from hypervisor.hypervisor import Hypervisor
from hypervisor.tables import GuestKind
from hypervisor.vlapic import VlapicState


class StateError(ValueError):
    """Bytes that are not the state of these vCPUs."""


def save_vcpus(vcpus: Iterable[Vcpu]) -> bytes:
    """The vCPUs of one domain, which has not ended, between two slices."""
    members = sorted(vcpus, key=lambda vcpu: vcpu.vcpu)
    processors: list[Any] = []
    for vcpu in members:
        if isinstance(vcpu, PvhVcpu):
            if vcpu is members[0]:  # one engine is all of theirs
                processors.append(vcpu.turns.save())
            processors.append(vcpu.save_apart())
        elif isinstance(vcpu, PvVcpu) and vcpu is members[0]:
            assert not any(isinstance(member, PvVcpu) and member.writes.active for member in members)
            processors.append(vcpu.turns.save())
    return bytes(msgpack.packb((processors, [(vcpu.vcpu, *vcpu.save()) for vcpu in members])))


def restore_vcpus(hv: Hypervisor, rows: Sequence[VcpuRow], meter: BlockMeter, saved: bytes) -> dict[VcpuRow, Vcpu]:
    """The vCPUs at `rows`, all of one domain, ready to go on over the host's bytes of the same moment.

    Raises StateError.
    """
    try:
        processors, members = msgpack.unpackb(saved, use_list=False, strict_map_key=False)
        states = {row: VcpuState(*state) for row, *state in members}
        if set(states) != set(rows):
            raise StateError("the state of other vCPUs")
        if hv.domains.kind[hv.vcpus.domid[rows[0]]] == GuestKind.PV:
            vcpus = _restore_pv(hv, rows, meter, processors)
        else:
            vcpus = _restore_pvh(hv, rows, meter, processors)
        for row, vcpu in vcpus.items():
            vcpu.restore(states[row])
    except (msgpack.exceptions.UnpackException, ValueError, TypeError, LookupError) as error:
        raise StateError(f"no state of vCPUs: {error}") from error
    return vcpus


def _restore_pvh(hv: Hypervisor, rows: Sequence[VcpuRow], meter: BlockMeter, processors: Any) -> dict[VcpuRow, Vcpu]:
    state, *apart = processors
    vcpus = make_pvh_vcpus(hv, rows, meter)
    current, engines, boot, *rest = state
    vcpus[0].resume(
        PvhTurnsState(current, [EngineState(*engine) for engine in engines], EngineState(*boot), *rest))
    for vcpu, (absent, apic) in zip(vcpus, apart, strict=True):
        vcpu.restore_apart(absent, VlapicState(*apic))
    return dict(zip(rows, vcpus, strict=True))


def _restore_pv(hv: Hypervisor, rows: Sequence[VcpuRow], meter: BlockMeter, processors: Any) -> dict[VcpuRow, Vcpu]:
    (state,) = processors
    turns = Turns()
    vcpus = {row: PvVcpu(hv, row, meter, turns) for row in rows}
    turns.current.enter()
    for vcpu in vcpus.values():
        vcpu.install_exits()
    turns.restore(TurnsState(EngineState(*state[0]), *state[1:]))
    hv.initialise_vcpu[turns.current.domid] = initialise
    return dict(vcpus)
