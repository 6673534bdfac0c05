"""xen_version: which Xen this is and what it offers (xen/version.h; do_xen_version).

Who may ask for what is as without a security module.
"""

from collections.abc import Callable

from abi.errno import Errno, XenError
from abi.features import Feature
from abi.types import PAGE_SIZE, Domid
from abi.version import (
    BUILD_ID,
    COMPILE_INFO,
    FEATURE_INFO,
    PLATFORM_PARAMETERS,
    XEN_CAPABILITIES_INFO_LEN,
    XEN_CHANGESET_INFO_LEN,
    XEN_COMMANDLINE_LEN,
    XEN_EXTRAVERSION_LEN,
    VersionOp,
)
from abi.xen import VmAssist
from hypervisor.call import Call
from hypervisor.host import Host
from hypervisor.tables import GuestKind
from hypervisor.unimplemented import not_implemented

_DENIED = b"<denied>\0"
_HYPERVISOR_VIRT_START = {32: 0xF5800000, 64: 0xFFFF800000000000}
_DIRECT_MAPPED_SINCE = (4, 16)
"""XENFEAT_direct_mapped and its opposite are reported since this version."""


class XenVersion:
    """The version that the host claims to be: "4.17" or "4.11.4".  Raises ValueError where `text` is no version.

    `number` is what XENVER_version returns, major in the upper 16 bits.
    """

    def __init__(self, text: str) -> None:
        parts = text.split(".", 2)
        if len(parts) < 2 or not all(part.isascii() and part.isdigit() and int(part) < 1 << 16 for part in parts[:2]):
            raise ValueError(f"{text!r} is no Xen version: expected major.minor, like 4.17")
        self.major, self.minor = int(parts[0]), int(parts[1])
        extra = "." + (parts[2] if len(parts) == 3 else "0")
        if len(extra) >= XEN_EXTRAVERSION_LEN or not extra.isascii():
            raise ValueError(f"{text!r} is no Xen version: {extra!r} is too long")
        self.text = f"{self.major}.{self.minor}"
        self.number = self.major << 16 | self.minor
        self.extraversion = extra.encode().ljust(XEN_EXTRAVERSION_LEN, b"\0")
        self.compile_info = COMPILE_INFO.at(64).pack(
            b"domus (a simulator, no compiler)", b"domus", b"localdomain", b"Thu Jan  1 00:00:00 UTC 1970")
        # The interfaces have been called 3.0 through all of Xen 4; the list ends in a space.
        self.capabilities = (b"xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
                             .ljust(XEN_CAPABILITIES_INFO_LEN, b"\0"))
        self.changeset = b"unavailable".ljust(XEN_CHANGESET_INFO_LEN, b"\0")
        self.commandline = b"".ljust(XEN_COMMANDLINE_LEN, b"\0")

    def features(self, kind: GuestKind, *, privileged: bool, pae_above_4gb: bool) -> int:
        """Submap 0 of XENVER_get_features, for a guest of `kind`."""
        bits = 1 << Feature.memory_op_vnode_supported
        if pae_above_4gb:
            bits |= 1 << Feature.pae_pgdir_above_4gb
        if privileged:
            bits |= 1 << Feature.dom0
        if kind == GuestKind.PVH:
            bits |= 1 << Feature.writable_page_tables | 1 << Feature.auto_translated_physmap
            bits |= 1 << Feature.hvm_safe_pvclock | 1 << Feature.hvm_callback_vector
        else:
            bits |= 1 << Feature.mmu_pt_update_preserve_ad | 1 << Feature.highmem_assist
            bits |= 1 << Feature.gnttab_map_avail_bits
        if (self.major, self.minor) >= _DIRECT_MAPPED_SINCE:
            bits |= 1 << (Feature.not_direct_mapped if kind == GuestKind.PVH else Feature.direct_mapped)
        return bits


def domain_handle(domid: Domid) -> bytes:
    """A domain's UUID, 16 bytes: the same in every run, so that traces are equal."""
    return bytes.fromhex(f"646f6d7573004d0080000000{domid:08x}")  # "domus", with the version and variant of a UUID


def xen_version(hv: Host, call: Call, cmd: int, arg: int) -> int:
    """Whoever may not see a string gets `<denied>`; XENVER_version and _pagesize return a value, the others 0."""
    if not cmd & 0xFFFFFFFF:  # XENVER_version: guests use it as the cheapest call there is, to be sent their events
        return hv.version.number
    operation = _OPERATIONS.get(cmd & 0xFFFFFFFF)
    if operation is None:
        not_implemented(hv, call, "xen_version", cmd & 0xFFFFFFFF)
    return operation(hv, call, arg)


def _text(what: Callable[[XenVersion], bytes]) -> Callable[[Host, Call, int], int]:
    """A sub-operation that copies the same bytes out to everybody."""
    def copy_out(hv: Host, call: Call, arg: int) -> int:
        call.memory.write(arg, what(hv.version))
        return 0

    return copy_out


def _platform_parameters(hv: Host, call: Call, arg: int) -> int:
    start = 0 if hv.domains.kind[call.domid] == GuestKind.PVH else _HYPERVISOR_VIRT_START[call.width]
    call.memory.write(arg, PLATFORM_PARAMETERS.at(call.width).pack(start))
    return 0


def _pagesize(hv: Host, call: Call, arg: int) -> int:
    if arg:
        raise XenError(Errno.EINVAL)
    return PAGE_SIZE


def _guest_handle(hv: Host, call: Call, arg: int) -> int:
    call.memory.write(arg, domain_handle(call.domid))
    return 0


def _commandline(hv: Host, call: Call, arg: int) -> int:
    call.memory.write(arg, hv.version.commandline if hv.domains.privileged[call.domid] else _DENIED)
    return 0


def _get_features(hv: Host, call: Call, arg: int) -> int:
    shape = FEATURE_INFO.at(call.width)
    submap, _ = shape.unpack(call.memory.read(arg, shape.size))
    if submap:
        raise XenError(Errno.EINVAL)
    domid = call.domid
    bits = hv.version.features(
        GuestKind(hv.domains.kind[domid]), privileged=bool(hv.domains.privileged[domid]),
        pae_above_4gb=bool(hv.assists.bits[domid] >> VmAssist.pae_extended_cr3 & 1))
    call.memory.write(arg, shape.pack(submap, bits))
    return 0


def _build_id(hv: Host, call: Call, arg: int) -> int:
    """Refused to guests; for the others there is none, as in a Xen that was linked without one."""
    if not hv.domains.privileged[call.domid]:
        raise XenError(Errno.EPERM)
    if arg:
        length, *_ = BUILD_ID.at(call.width).unpack(call.memory.read(arg, BUILD_ID.at(call.width).size))
        if not length:
            raise XenError(Errno.EINVAL)
    raise XenError(Errno.ENODATA)


_OPERATIONS: dict[int, Callable[[Host, Call, int], int]] = {
    VersionOp.extraversion: _text(lambda version: version.extraversion),
    VersionOp.compile_info: _text(lambda version: version.compile_info),
    VersionOp.capabilities: _text(lambda version: version.capabilities),
    VersionOp.changeset: _text(lambda version: version.changeset),
    VersionOp.platform_parameters: _platform_parameters,
    VersionOp.get_features: _get_features,
    VersionOp.pagesize: _pagesize,
    VersionOp.guest_handle: _guest_handle,
    VersionOp.commandline: _commandline,
    VersionOp.build_id: _build_id,
}
