"""Types for the ABI's small integers, so that a port is never passed where a domid is meant."""

from typing import NewType

Domid = NewType("Domid", int)
VcpuId = NewType("VcpuId", int)
"""A vCPU's number inside its domain (Xen's `vcpu_id`)."""
VcpuRow = NewType("VcpuRow", int)
"""A vCPU's row in the host's flat vCPU table: unique on the host, in order of (domid, vcpu_id)."""
Port = NewType("Port", int)
Gfn = NewType("Gfn", int)
Mfn = NewType("Mfn", int)
GrantRef = NewType("GrantRef", int)
GrantHandle = NewType("GrantHandle", int)

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
NEVER = (1 << 64) - 1
"""A time in nanoseconds that does not come."""
