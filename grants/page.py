"""From a page that a grant or a copy names to its frame (Xen's get_paged_frame)."""

from abi.errno import XenError
from abi.grant_table import GrantStatus
from abi.types import Domid, Gfn, Mfn
from grants.errors import GrantError
from grants.interfaces import MemoryManager, P2mType

_LENT = 1 << P2mType.GRANT_MAP_RW | 1 << P2mType.GRANT_MAP_RO
_WRITABLE = 1 << P2mType.RAM_RW | 1 << P2mType.RAM_LOGDIRTY | 1 << P2mType.GRANT_MAP_RW
_READABLE = _WRITABLE | 1 << P2mType.RAM_RO | 1 << P2mType.GRANT_MAP_RO


def _memory_at(memory: MemoryManager, domid: Domid, gfn: Gfn, readonly: bool) -> tuple[Mfn, P2mType]:
    try:
        found = memory.lookup(domid, gfn)
    except XenError:
        raise GrantError(GrantStatus.bad_page) from None
    if (_READABLE if readonly else _WRITABLE) >> found[1] & 1:
        return found
    raise GrantError(GrantStatus.bad_page)


def frame_to_map(memory: MemoryManager, granter: Domid, gfn: Gfn, readonly: bool) -> Mfn:
    """The frame behind a page that is granted, with a reference.  It must be the granter's own.

    Raises GrantError: bad_page where there is no memory of the granter's, general_error where it is lent to it.
    """
    mfn, kind = _memory_at(memory, granter, gfn, readonly)
    if memory.get_page(mfn, granter):
        return mfn
    raise GrantError(GrantStatus.general_error if _LENT >> kind & 1 else GrantStatus.bad_page)


def frame_to_copy(memory: MemoryManager, domid: Domid, gfn: Gfn, readonly: bool, granted: bool) -> Mfn:
    """The frame behind a page to copy from or to.  The caller may use what is lent to it, but not grant it on.

    Raises GrantError(bad_page).
    """
    mfn, kind = _memory_at(memory, domid, gfn, readonly)
    if (granted or not _LENT >> kind & 1) and memory.owner(mfn) != domid:
        raise GrantError(GrantStatus.bad_page)
    return mfn
