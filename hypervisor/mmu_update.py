"""HYPERVISOR_mmu_update (xen/xen.h): changes of page-table entries and of the M2P, in batches."""

from struct import iter_unpack

import numpy

from abi.errno import Errno, XenError
from abi.types import Domid, Mfn
from abi.xen import MmuUpdate
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.guest_access import guest_handle_okay
from hypervisor.mmu_owner import PREEMPTED, Host, check_target, count_done, domain, page_owner
from hypervisor.pv_tables import PageType

_SIZE = 16
_BATCH, _SHARE = 512, 8192
"""Requests that are read at once, and that one call does before it lets others run."""
_WORTH_IT = 64
"""From so many requests on, numpy is faster than a loop."""
_NORMAL, _MACHPHYS = int(MmuUpdate.NORMAL_PT_UPDATE), int(MmuUpdate.MACHPHYS_UPDATE)
_PRESERVE_AD = int(MmuUpdate.PT_UPDATE_PRESERVE_AD)
_L1, _L4, _WRITABLE = int(PageType.L1), int(PageType.L4), int(PageType.WRITABLE)


def mmu_update(hv: Host, call: Call, ureqs: int, count: int, pdone: int, foreigndom: int) -> int:
    """Do `count` requests in order until one fails.

    `foreigndom` names the owner of the frames mapped and, in its upper half, that of the tables, plus one.  Errors:
    EFAULT, EINVAL, ESRCH, EPERM; ENOSYS for a command that there is not; and those of the entries.
    """
    count, foreigndom = count & 0xFFFFFFFF, foreigndom & 0xFFFFFFFF
    number = count & ~PREEMPTED
    if not guest_handle_okay(hv.domains, call, ureqs, number * _SIZE):
        raise XenError(Errno.EFAULT)
    tables_of = call.domid
    if foreigndom >> 16:
        try:
            tables_of = domain(hv, (foreigndom >> 16) - 1)
        except XenError:
            raise XenError(Errno.EINVAL) from None
    updates = _Updates(hv, call, tables_of, page_owner(hv, call, foreigndom & 0xFFFF))
    try:
        while updates.done < number and updates.done < _SHARE:
            updates.read(ureqs + updates.done * _SIZE, min(_BATCH, number - updates.done))
    finally:
        count_done(call, pdone, count, updates.done)
    if updates.done < number:
        raise Continuation(ureqs + updates.done * _SIZE, number - updates.done | PREEMPTED, pdone, foreigndom)
    return 0


class _Updates:
    """One call: the tables are `tables_of`'s and the frames `owner`'s.  `done` counts the requests that went well."""

    def __init__(self, hv: Host, call: Call, tables_of: Domid, owner: Domid) -> None:
        self._hv, self._call, self._tables_of, self._owner = hv, call, tables_of, owner
        self._types, self._entries = hv.pv.types, hv.pv.entries
        self._own = tables_of == owner == call.domid
        self.done = 0

    def read(self, address: int, count: int) -> None:
        """Do `count` requests in the guest's memory, or those before the first that cannot be read."""
        read = self._call.memory.read
        try:
            data = read(address, count * _SIZE)
        except XenError:
            data = read(address, _SIZE)
        self._do(data)

    def _do(self, data: bytes) -> None:
        """Do all requests of `data` at once; where these are not alike, one half after the other."""
        count = len(data) // _SIZE
        if self._own and count >= _WORTH_IT:
            requests = numpy.frombuffer(data, numpy.uint64).reshape(count, 2)
            if self._hv.pv.batch.update(requests, self._owner):
                self.done += count
                return
            half = count // 2 * _SIZE
            self._do(data[:half])
            self._do(data[half:])
            return
        mod_l1, tables_of, owner, table = self._entries.mod_l1, self._tables_of, self._owner, -1
        for pointer, value in iter_unpack("<QQ", data):
            command = pointer & 7
            if pointer >> 12 == table and not command:  # a change of an L1 entry leaves every table what it is
                mod_l1(pointer >> 3, value, tables_of, owner)
            elif command in (_NORMAL, _PRESERVE_AD):
                table = self._entry(pointer & ~7, value, command == _PRESERVE_AD)
            elif command == _MACHPHYS:
                self._machphys(pointer >> 12, value)
            else:
                raise XenError(Errno.ENOSYS)
            self.done += 1

    def _entry(self, pointer: int, value: int, preserve: bool) -> int:
        """Returns the frame if it is a live L1 of the tables' owner, else -1."""
        if not self._own:
            check_target(self._hv, self._call, self._owner)
            check_target(self._hv, self._call, self._tables_of)
        mfn, types = pointer >> 12, self._types
        frames = types.frames
        if not frames.valid(mfn) or frames.owner(Mfn(mfn)) != self._tables_of:
            raise XenError(Errno.EINVAL)
        kind = types.live(mfn)
        if kind == _L1:
            self._entries.mod_l1(pointer >> 3, value, self._tables_of, self._owner, preserve)
            return mfn
        if 0 < kind <= _L4:
            if self._owner != self._tables_of:
                raise XenError(Errno.EINVAL)
            self._entries.mod_upper(kind, pointer >> 3, value, self._tables_of, preserve)
        else:
            types.get(mfn, _WRITABLE, self._tables_of)
            self._hv.pv.write_word(pointer, value)
            types.put(mfn)
        return -1

    def _machphys(self, mfn: int, pfn: int) -> None:
        if self._tables_of != self._call.domid:
            raise XenError(Errno.EPERM)
        if not self._own:
            check_target(self._hv, self._call, self._owner)
        frames = self._types.frames
        if not frames.valid(mfn) or frames.owner(Mfn(mfn)) != self._owner:
            raise XenError(Errno.EINVAL)
        self._hv.pv.set_m2p(mfn, pfn)
