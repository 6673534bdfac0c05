"""HVM_PARAM_*: 64-bit values by domain, and the vCPUs' own upcall vectors (xen/hvm/params.h)."""

from collections.abc import Mapping
from typing import ClassVar

from abi.hvm import HvmParam
from abi.types import Domid, VcpuRow
from state.table import Table

ROWS_A_DOMAIN = 64


class ParamTable(Table):
    """Row = domid * ROWS_A_DOMAIN + HVM_PARAM_*."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"value": "Q"}
    value: "memoryview[int]"


class UpcallVectorTable(Table):
    """Row = the vCPU's; `vector` is 0 where the domain's callback is to be used."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"vector": "B"}
    vector: "memoryview[int]"


class HvmParams:
    """The parameters as the host keeps them, with no questions asked: permissions are `hvm_op`'s."""

    def __init__(self, params: ParamTable, vectors: UpcallVectorTable) -> None:
        self._value = params.value
        self.upcall_vector = vectors.vector
        """By vCPU row: what HVMOP_set_evtchn_upcall_vector set, to be used in place of the domain's callback."""

    def get(self, domid: Domid, index: HvmParam) -> int:
        """The stored value; 0 where nobody set one."""
        return self._value[domid * ROWS_A_DOMAIN + index]

    def set(self, domid: Domid, index: HvmParam, value: int) -> None:
        """Store `value` (64 bits)."""
        self._value[domid * ROWS_A_DOMAIN + index] = value

    def clear(self, domid: Domid, vcpus: range) -> None:
        """Forget everything of a domain that is gone; `vcpus` are its rows."""
        for row in range(domid * ROWS_A_DOMAIN, (domid + 1) * ROWS_A_DOMAIN):
            self._value[row] = 0
        for vcpu in vcpus:
            self.upcall_vector[VcpuRow(vcpu)] = 0
