"""What a domain asks about a grant table as a whole (grant_table.h): its size, its frames, its version."""

from collections.abc import Callable
from struct import Struct
from typing import Protocol

from abi.errno import Errno, XenError
from abi.grant_table import (
    GNTTAB_GET_STATUS_FRAMES,
    GNTTAB_GET_VERSION,
    GNTTAB_QUERY_SIZE,
    GNTTAB_SET_VERSION,
    GNTTAB_SETUP_TABLE,
    GrantStatus,
)
from abi.types import Domid
from abi.xen import DOMID_SELF
from grants.errors import GrantError
from grants.grant_table import GrantTables
from hypervisor.call import Call
from hypervisor.tables import DomainTable

_STATUS = Struct("<h")
_OKAY = int(GrantStatus.okay)


class Host(Protocol):
    """What these operations need of the hypervisor."""

    @property
    def domains(self) -> DomainTable: ...
    @property
    def grants(self) -> GrantTables: ...


def setup_table(hv: Host, call: Call, uop: int, count: int) -> None:
    if count != 1:
        raise XenError(Errno.EINVAL)
    shape = GNTTAB_SETUP_TABLE.at(call.width)
    dom, nr_frames, _, frame_list = shape.unpack(call.memory.read(uop, shape.size))
    status = _list_frames(call, frame_list, call.width,
                          lambda: hv.grants.setup_table(_target(hv, call, dom), nr_frames))
    call.memory.write(uop + shape.offset["status"], _STATUS.pack(status))


def get_status_frames(hv: Host, call: Call, uop: int, count: int) -> None:
    """The list has words of 64 bits in either width."""
    if count != 1:
        raise XenError(Errno.EINVAL)
    shape = GNTTAB_GET_STATUS_FRAMES.at(call.width)
    nr_frames, dom, _, frame_list = shape.unpack(call.memory.read(uop, shape.size))
    status = _list_frames(call, frame_list, 64,
                          lambda: hv.grants.status_frames(_target(hv, call, dom), nr_frames))
    call.memory.write(uop + shape.offset["status"], _STATUS.pack(status))


def _list_frames(call: Call, frame_list: int, width: int, frames: Callable[[], list[int]]) -> int:
    """Write the frames to the guest's list, in words of so many bits; what the operation's status is then."""
    try:
        found = frames()
    except GrantError as error:
        return error.status
    mask = (1 << width) - 1
    try:
        call.memory.write(frame_list, b"".join((frame & mask).to_bytes(width // 8, "little") for frame in found))
    except XenError:
        return int(GrantStatus.bad_virt_addr)
    return _OKAY


def query_size(hv: Host, call: Call, uop: int, count: int) -> None:
    if count != 1:
        raise XenError(Errno.EINVAL)
    shape = GNTTAB_QUERY_SIZE.at(call.width)
    dom, nr_frames, max_nr_frames, _ = shape.unpack(call.memory.read(uop, shape.size))
    status = _OKAY
    try:
        nr_frames, max_nr_frames = hv.grants.query_size(_target(hv, call, dom))
    except GrantError as error:
        status = error.status
    call.memory.write(uop, shape.pack(dom, nr_frames, max_nr_frames, status))


def set_version(hv: Host, call: Call, uop: int, count: int) -> None:
    shape = GNTTAB_SET_VERSION.at(call.width)
    version, = shape.unpack(call.memory.read(uop, shape.size))
    try:
        hv.grants.set_version(call.domid, version)
    finally:  # refused or not, the guest learns what it has
        call.memory.write(uop, shape.pack(hv.grants.domains.version[call.domid]))


def get_version(hv: Host, call: Call, uop: int, count: int) -> None:
    shape = GNTTAB_GET_VERSION.at(call.width)
    dom, _, _ = shape.unpack(call.memory.read(uop, shape.size))
    try:
        version = hv.grants.domains.version[_target(hv, call, dom)]
    except GrantError as error:
        raise XenError(Errno.ESRCH if error.status == GrantStatus.bad_domain else Errno.EPERM) from None
    call.memory.write(uop + shape.offset["version"], version.to_bytes(4, "little"))


def _target(hv: Host, call: Call, dom: int) -> Domid:
    """The domain that a caller may ask about: itself, or any if it is privileged.  Raises GrantError."""
    if dom in (DOMID_SELF, call.domid):
        return call.domid
    hv.grants.require(call.domid, dom)
    if not hv.grants.exists(Domid(dom)):
        raise GrantError(GrantStatus.bad_domain)
    if not hv.domains.privileged[call.domid]:
        raise GrantError(GrantStatus.permission_denied)
    return Domid(dom)
