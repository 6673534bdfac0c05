"""HYPERVISOR_mmu_update (xen/xen.h): changes of page-table entries and of the M2P, in batches."""

from struct import iter_unpack

import numpy

from abi.errno import Errno, XenError
from abi.types import Domid, Mfn
from abi.xen import MmuUpdate
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.frames import INVALID_M2P
from hypervisor.guest_access import guest_handle_okay
from hypervisor.mmu_owner import PREEMPTED, Host, check_target, count_done, domain, page_owner
from hypervisor.pte import PRESENT
from hypervisor.pv_tables import PageType

_SIZE = 16
_BATCH, _SHARE = 512, 8192
"""Requests that are read at once, and that one call does before it lets others run."""
_WORTH_IT = 12
"""From so many requests on, numpy is faster than a loop."""
_NORMAL, _MACHPHYS = int(MmuUpdate.NORMAL_PT_UPDATE), int(MmuUpdate.MACHPHYS_UPDATE)
_PRESERVE_AD = int(MmuUpdate.PT_UPDATE_PRESERVE_AD)
_L1, _L4, _WRITABLE = int(PageType.L1), int(PageType.L4), int(PageType.WRITABLE)
_MASK = {32: (1 << 32) - 1, 64: INVALID_M2P}


def mmu_update(hv: Host, call: Call, ureqs: int, count: int, pdone: int, foreigndom: int) -> int:
    """Do `count` requests in order until one fails.

    `foreigndom` names the owner of the frames mapped, and in its upper half that of the tables, plus one.  Errors: EFAULT,
    EINVAL, ESRCH, EPERM; ENOSYS for a command that there is not; and those of the entries.
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
    owner = page_owner(hv, call, foreigndom & 0xFFFF)
    done = 0
    try:
        while done < number:
            if done >= _SHARE:
                raise Continuation(ureqs + done * _SIZE, number - done | PREEMPTED, pdone, foreigndom)
            size = min(_BATCH, number - done)
            for data in _requests(call, ureqs + done * _SIZE, size):
                for taken in _batch(hv, call, data, tables_of, owner):
                    done += taken
    finally:
        count_done(call, pdone, count, done)
    return 0


def _requests(call: Call, address: int, count: int) -> "list[bytes]":
    """The bytes of `count` requests, in one piece if they can be read so; else as far as there are any.

    Raises XenError(EFAULT) where there are none.
    """
    try:
        return [call.memory.read(address, count * _SIZE)]
    except XenError:
        return [call.memory.read(address, _SIZE)]


def _batch(hv: Host, call: Call, data: bytes, tables_of: Domid, owner: Domid) -> "list[int]":
    return []
