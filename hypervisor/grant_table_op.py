"""grant_table_op (grant_table.h): from a guest's arguments to `grants.grant_table.GrantTables` and back.

Most operations take an array: each element succeeds or fails by its own `status`, and -EFAULT ends the call where the
array ends, with everything before done.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any, NoReturn, Protocol

from abi.errno import Errno, XenError
from abi.grant_table import (
    GNTTAB_COPY,
    GNTTAB_MAP_GRANT_REF,
    GNTTAB_SWAP_GRANT_REF,
    GNTTAB_TRANSFER,
    GNTTAB_UNMAP_AND_REPLACE,
    GNTTAB_UNMAP_GRANT_REF,
    GnttabOp,
    GrantStatus,
)
from abi.layout import Layout, Shape
from abi.types import PAGE_SIZE, Domid
from grants.errors import GrantError
from grants.grant_table import GrantTables
from hypervisor import grant_cache_flush, grant_table_state
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.groups import Apart
from hypervisor.tables import GuestKind
from hypervisor.unimplemented import Unimplemented, not_implemented

_STATUS = Struct("<h")
_DONE = _STATUS.pack(GrantStatus.okay)
_MAPPED = Struct("<hIQ")
"""`gnttab_map_grant_ref` from `status` to its end, in either width."""
_OPAQUE = 0xFFFFF000
"""Bits of `cmd` in which a preempted call of Xen's keeps its place (GNTTABOP_ARG_MASK)."""
PAGES = 4
"""Pages of arguments after which a call lets others run: a few milliseconds of the host's time."""


class Host(grant_cache_flush.Host, grant_table_state.Host, Protocol):
    """What this hypercall needs of the hypervisor."""

    @property
    def unimplemented(self) -> Unimplemented: ...


Operation = Callable[[Host, Call, int, int], None]
"""A sub-operation: host, caller, `uop`, `count`."""
Run = Callable[[GrantTables, Domid, tuple[Any, ...]], bytes]
"""Does one element, given its fields, for a caller.

Returns what becomes of the element from its `status` on.  Raises GrantError for any status but GNTST_okay.
"""


def grant_table_op(hv: Host, call: Call, cmd: int, uop: int, count: int) -> int:
    """HYPERVISOR_grant_table_op(cmd, uop, count)."""
    operation = _OPERATIONS.get(cmd & 0xFFFFFFFF)
    if operation is None:
        _refuse(hv, call, cmd & 0xFFFFFFFF, count)
    if count & 0x80000000:
        raise XenError(Errno.EINVAL)
    operation(hv, call, uop, count & 0x7FFFFFFF)
    return 0


def _refuse(hv: Host, call: Call, cmd: int, count: int) -> NoReturn:
    if hv.domains.kind[call.domid] == GuestKind.PVH:  # hvm_grant_table_op knows what it lets through, and no more
        _absent_in_hvm(hv, call, cmd)
    if count & 0x80000000 or cmd & _OPAQUE:
        raise XenError(Errno.EINVAL)
    not_implemented(hv, call, "grant_table_op", _name(cmd))


def _absent_in_hvm(hv: Host, call: Call, cmd: int) -> NoReturn:
    hv.unimplemented.note(call.domid, f"grant_table_op/{_name(cmd)}", "Xen does not offer it to such a guest")
    raise XenError(Errno.ENOSYS)


def _name(cmd: int) -> str | int:
    return GnttabOp(cmd).name if cmd in list(GnttabOp) else cmd


def _each(op: GnttabOp, layout: Layout, run: Run) -> Operation:
    """Operation `op` over an array of `layout`, of which `run` does one element."""
    shapes = {width: (shape.unpack, shape.size, shape.offset["status"])
              for width in (32, 64) for shape in (layout.at(width),)}

    def operation(hv: Host, call: Call, uop: int, count: int) -> None:
        unpack, size, status = shapes[call.width]
        if count != 1:
            rest = _batches(hv, call, op, operation, run, layout.at(call.width), uop, count)
            if rest:
                raise Continuation(op, uop + (count - rest) * size, rest)
            return
        memory = call.memory
        fields = unpack(memory.read(uop, size))
        try:
            result = run(hv.grants, call.domid, fields)
        except GrantError as error:
            result = _STATUS.pack(error.status)
        memory.write(uop + status, result)

    return operation


def _batches(hv: Host, call: Call, op: GnttabOp, one: Operation, run: Run, shape: Shape, uop: int, count: int) -> int:
    """Read and write as many elements at a time as a page holds, and return how many are left after PAGES of these.

    A page that cannot be read and written as a whole is done by `one` element after another, up to the fault.
    """
    grants, domid, memory = hv.grants, call.domid, call.memory
    unpack, size, status = shape.unpack_from, shape.size, shape.offset["status"]
    pages = 0
    while count and pages < PAGES:
        number = min(count, PAGE_SIZE // size)
        try:
            data = bytearray(memory.read(uop, number * size))
            memory.write(uop, bytes(data))
        except XenError:
            for index in range(number):
                try:
                    one(hv, call, uop + index * size, 1)
                except Apart as apart:
                    raise Continuation(op, uop + index * size, count - index, wish=apart.other) from None
        else:
            for at in range(0, number * size, size):
                try:
                    result = run(grants, domid, unpack(data, at))
                except GrantError as error:
                    result = _STATUS.pack(error.status)
                except Apart as apart:
                    memory.write(uop, bytes(data[:at]))
                    raise Continuation(op, uop + at, count - at // size, wish=apart.other) from None
                data[at + status:at + status + len(result)] = result
            memory.write(uop, bytes(data))
        uop += number * size
        count -= number
        pages += 1
    return count


def _map_grant_ref(grants: GrantTables, domid: Domid, fields: tuple[Any, ...]) -> bytes:
    host_addr, flags, ref, dom, _, _, _ = fields
    handle, dev_bus_addr = grants.mappings.map_grant_ref(domid, host_addr, flags, ref, dom)
    return _MAPPED.pack(0, handle, dev_bus_addr)


def _unmap_grant_ref(grants: GrantTables, domid: Domid, fields: tuple[Any, ...]) -> bytes:
    host_addr, dev_bus_addr, handle, _ = fields
    grants.mappings.unmap_grant_ref(domid, host_addr, dev_bus_addr, handle)
    return _DONE


def _unmap_and_replace(grants: GrantTables, domid: Domid, fields: tuple[Any, ...]) -> bytes:
    host_addr, new_addr, handle, _ = fields
    grants.mappings.unmap_grant_ref(domid, host_addr, 0, handle, new_addr)
    return _DONE


def _copy(grants: GrantTables, domid: Domid, fields: tuple[Any, ...]) -> bytes:
    source, source_domid, source_offset, dest, dest_domid, dest_offset, length, flags, _ = fields
    grants.copies.copy(domid, int.from_bytes(source, "little"), source_domid, source_offset,
                       int.from_bytes(dest, "little"), dest_domid, dest_offset, length, flags)
    return _DONE


def _swap_grant_ref(grants: GrantTables, domid: Domid, fields: tuple[Any, ...]) -> bytes:
    ref_a, ref_b, _ = fields
    grants.swap_grant_ref(domid, ref_a, ref_b)
    return _DONE


def _transfer(grants: GrantTables, domid: Domid, fields: tuple[Any, ...]) -> bytes:
    page, taker, ref, _ = fields
    grants.transfers.transfer(domid, page, taker, ref)
    return _DONE


def _not_in_hvm(op: GnttabOp, operation: Operation) -> Operation:
    """An operation that hvm_grant_table_op does not let through."""

    def checked(hv: Host, call: Call, uop: int, count: int) -> None:
        if hv.domains.kind[call.domid] == GuestKind.PVH:
            _absent_in_hvm(hv, call, op)
        operation(hv, call, uop, count)

    return checked


_OPERATIONS: dict[int, Operation] = {
    GnttabOp.map_grant_ref: _each(GnttabOp.map_grant_ref, GNTTAB_MAP_GRANT_REF, _map_grant_ref),
    GnttabOp.unmap_grant_ref: _each(GnttabOp.unmap_grant_ref, GNTTAB_UNMAP_GRANT_REF, _unmap_grant_ref),
    GnttabOp.setup_table: grant_table_state.setup_table,
    GnttabOp.transfer: _not_in_hvm(GnttabOp.transfer, _each(GnttabOp.transfer, GNTTAB_TRANSFER, _transfer)),
    GnttabOp.copy: _each(GnttabOp.copy, GNTTAB_COPY, _copy),
    GnttabOp.query_size: grant_table_state.query_size,
    GnttabOp.unmap_and_replace: _not_in_hvm(
        GnttabOp.unmap_and_replace, _each(GnttabOp.unmap_and_replace, GNTTAB_UNMAP_AND_REPLACE, _unmap_and_replace)),
    GnttabOp.set_version: grant_table_state.set_version,
    GnttabOp.get_status_frames: _not_in_hvm(GnttabOp.get_status_frames, grant_table_state.get_status_frames),
    GnttabOp.get_version: grant_table_state.get_version,
    GnttabOp.cache_flush: _not_in_hvm(GnttabOp.cache_flush, grant_cache_flush.cache_flush),
    GnttabOp.swap_grant_ref: _each(GnttabOp.swap_grant_ref, GNTTAB_SWAP_GRANT_REF, _swap_grant_ref),
}
