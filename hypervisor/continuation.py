"""Long hypercalls in pieces (Xen's hypercall_create_continuation).

A hypercall takes no virtual time, so a guest that asks for endless work in one call would hold up everybody.  A handler
that has done its share raises `Continuation` with the arguments for the rest.  The dispatcher then leaves the guest at
its hypercall instruction with these arguments in its registers; other vCPUs get their turn, and the call goes on.
"""

from typing import Protocol

from abi.types import Domid
from hypervisor.call import Call


class Continuation(Exception):  # noqa: N818 (it is not an error)
    """The rest of this hypercall is the same hypercall with `arguments` (as many as its row has).

    With `wish` it goes on in the next round, when the caller is in one group with that domain: see `hypervisor.groups`.
    """

    def __init__(self, *arguments: int, wish: Domid | None = None) -> None:
        super().__init__(*arguments)
        self.arguments, self.wish = arguments, wish


class Restartable(Call, Protocol):
    """A caller that can be left at its hypercall instruction.  Any other caller waits until all is done."""

    def restart(self, arguments: tuple[int, ...]) -> None:
        """Put `arguments` into the argument registers, and do not step over the hypercall instruction.

        The register that holds the call's number gets what `Dispatcher.dispatch` returns, the number.
        """
