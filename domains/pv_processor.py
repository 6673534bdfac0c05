"""The processor of a PV vCPU: what hypercalls and emulated instructions do to it, and the memory that it finds.

A PV guest's page numbers are frame numbers; which of them it may touch is said by its nested page table.
"""

from typing import TYPE_CHECKING

from abi.types import VcpuId, VcpuRow
from abi.xen import VCPU_INFO
from domains import envlayout as env
from domains import segments
from domains.envlayout import HFLAGS
from domains.native import BlockMeter
from domains.pv_front import PvFront
from domains.pv_selectors import BadSelector, Selectors
from domains.pv_turns import Turns
from domains.segments import HF_CPL
from domains.vcpu import Vcpu
from hypervisor.frames import FrameKind
from hypervisor.p2m import WRITABLE_TYPES
from hypervisor.pv_tables import VcpuFlag

if TYPE_CHECKING:
    from hypervisor.hypervisor import Hypervisor

_LOW32, _M64 = 0xFFFFFFFF, (1 << 64) - 1
_KERNEL_MODE, _TASK_SWITCHED = int(VcpuFlag.KERNEL_MODE), int(VcpuFlag.TASK_SWITCHED)
_TABLE = int(FrameKind.TABLE)
_CR2 = {width: VCPU_INFO.at(width).offset["arch_cr2"] for width in (32, 64)}
_BASES = (env.SEGMENTS + 3 * env.FS + 1, env.KERNEL_GS_BASE, env.SEGMENTS + 3 * env.GS + 1)
"""By `SegmentBase`, while the kernel runs."""


class PvProcessor(Vcpu):
    """`turns` is what the vCPUs of a domain share: the engine, in which they take turns, and its native front."""

    def __init__(self, hv: "Hypervisor", row: VcpuRow, meter: BlockMeter, turns: Turns) -> None:
        self.turns = turns
        self.pv_front = turns.front
        if turns.engine is None and meter.fast_path is not None and hv.domains.width[hv.vcpus.domid[row]] == 64:
            self.pv_front = PvFront(meter.fast_path)
        super().__init__(hv, row, meter, self.pv_front, turns.engine)
        self.vcpu_id = VcpuId(hv.vcpus.vcpu_id[row])
        self._table, self._flags = hv.pv_vcpus, hv.pv_vcpus.flags
        self._u8, self._u32, self._u64, self._info = hv.arena.u8, hv.arena.u32, hv.arena.u64, hv.vcpus.info
        self.rflags = self.engine.rflags
        self.selectors = Selectors(hv, row, self.engine)

    def kernel_mode(self) -> bool:
        """The guest's kernel runs, not its user."""
        if self.width == 64:
            return bool(self._flags[self.vcpu] & _KERNEL_MODE)
        return self.d[HFLAGS] & HF_CPL == 1

    # -- what hypercalls do to it

    def switch_cr3(self) -> None:
        """The vCPU has other page tables, or its mode has changed."""
        self.q[env.CR3] = self.hv.pv.cr3(self.vcpu)
        self.stale = True

    def load_ldt(self) -> None:
        self.selectors.load_ldt()

    def set_segment_base(self, which: int, base: int) -> None:
        self.q[_BASES[which]] = base

    def load_user_gs(self, selector: int) -> None:
        try:
            segment = self.selectors.data(selector, 3)
        except BadSelector:
            segment = self.selectors.data(0, 3)
        self.q[env.KERNEL_GS_BASE] = segment.base
        gs = env.SEGMENTS + 3 * env.GS
        self.q[gs] = segment.selector
        self.q[gs + 2] = segment.limit | segment.flags << 32

    def set_task_switched(self, on: bool) -> None:
        flags, ts = self._flags, 1 << 3
        flags[self.vcpu] = flags[self.vcpu] & ~_TASK_SWITCHED | (_TASK_SWITCHED if on else 0)
        self.q[env.CR0] = self.q[env.CR0] & ~ts | (ts if on else 0)
        segments.update_hflags(self.engine)

    def cr2(self) -> int:
        """What the last page fault of the guest was about."""
        info = self._info[self.vcpu]
        at = info + _CR2[self.width]
        return int.from_bytes(self._u8[at:at + self.width // 8], "little") if info else 0

    def set_cr2(self, address: int) -> None:
        """Tell it to the guest, in its vcpu_info."""
        info = self._info[self.vcpu]
        if not info:
            return
        if self.width == 64:
            self._u64[info + _CR2[64] >> 3] = address & _M64
        else:
            self._u32[info + _CR2[32] >> 2] = address & _LOW32

    # -- memory

    def _frame(self, gfn: int, write: bool) -> int | None:
        """See `Vcpu._frame`.  Xen's own tables in the address space are not found, nor is what lies under them."""
        cached = self._writable_frames.get(gfn) if write else self._frames.get(gfn)
        if cached is not None:
            return cached
        found = self.hv.pv.nested.find(self.domid, gfn)
        if found is None or (write and found[1] not in WRITABLE_TYPES):
            return None
        if self.hv.frames.table.kind[gfn] == _TABLE and gfn != self._table.compat_l4[self.turns.current.vcpu]:
            return None
        (self._writable_frames if write else self._frames)[gfn] = gfn << 12
        return gfn << 12

    def p2m_changed(self, gfn: int) -> None:
        for vcpu in self.turns.members.values():
            vcpu.forget_frames(gfn)
        self.turns.current.stale = True

    def _flush(self) -> None:
        self.turns.current.stale = True

    def _invlpg(self, address: int) -> None:
        self.engine.flush_page(address)
