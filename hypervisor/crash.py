"""The end of one guest by its own doing, or by a fault in a handler that served it."""

from abi.types import Domid, VcpuId


class GuestCrash(Exception):  # noqa: N818 (what happens, as Xen names it)
    """Crash this domain, as Xen's domain_crash does.  Everybody else goes on.

    `reason` is one line for people; `call` is the hypercall with its arguments in words, where there was one; `where`
    is `file:line` where the fault lies in Python code.
    """

    def __init__(self, domid: Domid, vcpu_id: VcpuId, reason: str, call: str = "", where: str = "") -> None:
        super().__init__(domid, vcpu_id, reason, call, where)
        self.domid, self.vcpu_id, self.reason, self.call, self.where = domid, vcpu_id, reason, call, where

    def __str__(self) -> str:
        text = f"d{self.domid}v{self.vcpu_id}: {self.reason}"
        if self.where:
            text += f" at {self.where}"
        if self.call:
            text += f" in hypercall {self.call}"
        return text
