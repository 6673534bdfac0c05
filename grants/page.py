"""From a page that a grant or a copy names to its frame (Xen's get_paged_frame)."""

from abi.errno import XenError
from abi.grant_table import GrantStatus
from abi.types import Domid, Gfn, Mfn
from grants.errors import GrantError
from grants.interfaces import MemoryManager, P2mType

_LENT = 1 << P2mType.GRANT_MAP_RW | 1 << P2mType.GRANT_MAP_RO
_WRITABLE = 1 << P2mType.RAM_RW | 1 << P2mType.RAM_LOGDIRTY | 1 << P2mType.GRANT_MAP_RW
_READABLE = _WRITABLE | 1 << P2mType.RAM_RO | 1 << P2mType.GRANT_MAP_RO


def frame_to_map(memory: MemoryManager, granter: Domid, gfn: Gfn, readonly: bool) -> Mfn:
    """The frame behind a page that is granted, with a reference.  It must be the granter's own.

    Raises GrantError: bad_page where there is no memory of the granter's, general_error where it is lent to it.
    """
    try:
        mfn, kind = memory.lookup(granter, gfn)
    except XenError:
        raise GrantError(GrantStatus.bad_page) from None
    if not (_READABLE if readonly else _WRITABLE) >> kind & 1:
        raise GrantError(GrantStatus.bad_page)
    if not memory.get_page(mfn, granter):
        raise GrantError(GrantStatus.general_error if _LENT >> kind & 1 else GrantStatus.bad_page)
    return mfn


def frame_to_copy(memory: MemoryManager, domid: Domid, gfn: Gfn, readonly: bool, granted: bool) -> Mfn:
    """The frame behind a page to copy from or to.  The caller may use what is lent to it, but not grant it on.

    Raises GrantError(bad_page).
    """
    try:
        mfn, kind = memory.lookup(domid, gfn)
    except XenError:
        raise GrantError(GrantStatus.bad_page) from None
    lent = _LENT >> kind & 1
    if not (_READABLE if readonly else _WRITABLE) >> kind & 1 or ((granted or not lent) and memory.owner(mfn) != domid):
        raise GrantError(GrantStatus.bad_page)
    return mfn
