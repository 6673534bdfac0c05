"""nmi_op and the reasons in arch_shared_info (nmi.h)."""

from enum import IntEnum

from abi.layout import ULONG, Layout
from abi.naming import c_prefix


@c_prefix("XENNMI_")
class NmiOp(IntEnum):
    register_callback = 0
    unregister_callback = 1


XEN_NMIREASON_io_error = 1
XEN_NMIREASON_pci_serr = 2
XEN_NMIREASON_unknown = 4

XENNMI_CALLBACK = Layout("xennmi_callback", handler_address=ULONG, pad=ULONG)
