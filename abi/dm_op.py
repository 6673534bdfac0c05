"""dm_op's buffers (hvm/dm_op.h): no domU may use the call."""

from abi.layout import POINTER, ULONG, Layout

DM_OP_BUF = Layout("xen_dm_op_buf", h=POINTER, size=ULONG)
