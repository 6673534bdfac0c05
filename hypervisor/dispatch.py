"""From a hypercall's registers to its handler and back: the one way into the hypervisor.

Everything a guest does to the host comes through `Dispatcher.dispatch`, tens of thousands of times a second, so its
common path is flat: the table's rows are turned, once, into tuples of what a call needs.
"""

from collections.abc import Callable, Iterable
from traceback import extract_tb

from abi.errno import Errno, XenError
from abi.types import VcpuId
from hypervisor.call import Call
from hypervisor.continuation import Continuation
from hypervisor.crash import GuestCrash
from hypervisor.decode import call_in_words
from hypervisor.groups import Apart
from hypervisor.host import Host
from hypervisor.hypercalls import NR_HYPERCALLS, OF_A_PROCESSOR, ROWS, Handler, Row, missing
from hypervisor.tables import GuestKind
from hypervisor.trace import FOLD_AT, hypercall_packer

_MASK = {32: (1 << 32) - 1, 64: (1 << 64) - 1}
_ENOSYS = -int(Errno.ENOSYS)

Slot = tuple[Handler, int, Callable[..., bytes], int]
"""Handler, number of arguments, and the packer of its trace record with the record's head."""


class Dispatcher:
    """The hypercalls that `rows` declare, in front of the host `hv`.

    Raises ValueError where two rows have one number.
    """

    def __init__(self, hv: Host, rows: Iterable[Row] = ROWS) -> None:
        self._hv = hv
        self.rows: dict[int, Row] = {}
        for row in rows:
            if row.number in self.rows:
                raise ValueError(f"two rows for hypercall {row.number}: {self.rows[row.number].name}, {row.name}")
            self.rows[row.number] = row
        self.in_multicall = False
        """A vCPU of this process is inside a multicall, which must not be nested."""
        self.preempted: tuple[int, ...] | None = None
        """Set where a call inside a multicall was not finished: the arguments for its rest."""
        self._wide, self._narrow = ([self._slots(kind, width) for kind in GuestKind] for width in (64, 32))
        self._kind, self._trace = hv.domains.kind, hv.trace
        self._hypercalls, self._local_time, self._vcpu_id = hv.vcpus.hypercalls, hv.vcpus.local_time, hv.vcpus.vcpu_id
        self._buffers = hv.trace.buffers

    def name(self, number: int) -> str:
        """The name of hypercall `number`."""
        row = self.rows.get(number)
        return row.name if row is not None else f"hypercall_{number}"

    def dispatch(self, call: Call, number: int, a1: int = 0, a2: int = 0, a3: int = 0, a4: int = 0, a5: int = 0,
                 a6: int = 0) -> int:
        """Make hypercall `number` for `call` and return what goes into RAX (64-bit callers) or EAX, unsigned.

        Arguments are the raw registers.  Raises GuestCrash where the calling domain must be crashed, which is also how
        any fault inside a handler ends: its guest pays for it, the host does not.
        """
        domid, vcpu = call.domid, call.vcpu
        self._hypercalls[vcpu] += 1
        time = self._local_time[vcpu]
        try:
            if call.width == 64:
                mask = 0xFFFFFFFFFFFFFFFF
                handler, count, pack, head = self._wide[self._kind[domid]][number]
            else:
                mask = 0xFFFFFFFF
                handler, count, pack, head = self._narrow[self._kind[domid]][number]
                a1, a2 = a1 & mask, a2 & mask
                if count > 2:
                    a3, a4, a5, a6 = a3 & mask, a4 & mask, a5 & mask, a6 & mask
        except IndexError:
            return self._no_such_number(call, number, (a1, a2, a3, a4, a5, a6))
        try:
            if count == 2:
                result = handler(self._hv, call, a1, a2) & mask
            elif count == 3:
                result = handler(self._hv, call, a1, a2, a3) & mask
            else:
                result = handler(self._hv, call, *(a1, a2, a3, a4, a5, a6)[:count]) & mask
        except XenError as error:
            result = -error.errno & mask
        except Continuation as rest:
            return self._continue(call, number, rest)
        except Apart as apart:
            return self._continue(call, number, Continuation(*(a1, a2, a3, a4, a5, a6)[:count], wish=apart.other))
        except (GuestCrash, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._crash(call, number, (a1, a2, a3, a4, a5, a6)[:count], error) from error
        buffer = self._buffers[domid]
        if count == 2:
            buffer += pack(time, head, self._vcpu_id[vcpu], a1, a2, result)
        else:
            buffer += pack(time, head, self._vcpu_id[vcpu], *(a1, a2, a3, a4, a5, a6)[:count], result)
        if len(buffer) >= FOLD_AT:
            self._trace.fold(domid)
        return result

    def _no_such_number(self, call: Call, number: int, arguments: tuple[int, ...]) -> int:
        """A number beyond the table.  HVM guests' numbers are EAX alone, whatever the rest of RAX holds."""
        if number >> 32 and self._hv.domains.kind[call.domid] == GuestKind.PVH:
            self._hypercalls[call.vcpu] -= 1
            return self.dispatch(call, number & 0xFFFFFFFF, *arguments)
        self._hv.unimplemented.note(call.domid, f"hypercall numbers from {NR_HYPERCALLS} up", f"{number:#x} is none")
        result = _ENOSYS & _MASK[call.width]
        vcpu = call.vcpu
        self._trace.hypercall(call.domid, self._local_time[vcpu], VcpuId(self._vcpu_id[vcpu]), call.width,
                              min(number, 0xFFFFFF), (), result)
        return result

    def _continue(self, call: Call, number: int, rest: Continuation) -> int:
        """The handler has done its share: arrange for the rest.  Who cannot be restarted waits for it here."""
        arguments = rest.arguments
        if rest.wish is not None:
            self._hv.join(call.vcpu, rest.wish)
        if self.in_multicall:
            self.preempted = arguments
            return number
        restart = getattr(call, "restart", None)
        if restart is not None:
            restart(arguments)
            return number
        row = self.rows[number]
        handler = (row.hvm if self._hv.domains.kind[call.domid] == GuestKind.PVH else row.pv) or missing
        while True:
            try:
                result = handler(self._hv, call, *arguments)
            except Continuation as more:
                arguments = more.arguments
                continue
            except XenError as error:
                result = -error.errno
            except (GuestCrash, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise self._crash(call, number, arguments, error) from error
            result &= _MASK[call.width]
            vcpu = call.vcpu
            self._trace.hypercall(call.domid, self._local_time[vcpu], VcpuId(self._vcpu_id[vcpu]), call.width, number,
                                  arguments, result)
            return result

    def _crash(self, call: Call, number: int, arguments: tuple[int, ...], error: BaseException) -> GuestCrash:
        return GuestCrash(call.domid, VcpuId(self._vcpu_id[call.vcpu]), f"{type(error).__name__}: {error}",
                          call_in_words(number, arguments, self.name), _where(error, self.rows[number].source))

    def _slots(self, kind: GuestKind, width: int) -> list[Slot]:
        slots = []
        for number in range(NR_HYPERCALLS):
            row = self.rows.get(number)
            # Domain 0 is a PV guest to Xen, hence what acts in its seat uses that column.
            handler: Handler | None = None if row is None else row.hvm if kind == GuestKind.PVH else row.pv
            count = 0 if row is None else row.args32 if width == 32 and row.args32 is not None else row.args
            if row is None:
                handler = _absent(f"hypercall {number}", "nobody has assigned it")
            elif handler is missing:
                handler = _absent(row.name, "not implemented")
            elif kind == GuestKind.HOST and number in OF_A_PROCESSOR and not row.source:
                handler = _absent(row.name, "there is no processor in domain 0's seat")
            elif handler is None:
                handler = _absent(row.name, "Xen does not offer it to such a guest")
            slots.append((handler, count, *hypercall_packer(number, count, width)))
        return slots


def _where(error: BaseException, source: str) -> str:
    """`file:line` of a fault: the innermost line of the user's file `source`, or just the innermost."""
    told = getattr(error, "where", None)
    if isinstance(told, str):
        return told
    frames = extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.filename == source), frames[-1])
    return f"{frame.filename}:{frame.lineno}"


def _absent(name: str, why: str) -> Handler:
    """A handler for a hypercall that is not there."""

    def absent(hv: Host, call: Call, *arguments: int) -> int:
        hv.unimplemented.note(call.domid, name, why)
        return _ENOSYS

    return absent
