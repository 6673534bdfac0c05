"""Handles: the numbers by which a domain names the grants that it has mapped (Xen's maptrack).

Guests see them, so their order is Xen's: 256 more at a time while the domain may have more, a freed one is used last,
and one always stays behind in the free list.  Xen keeps a list for each vCPU; here a domain has one.
"""

from array import array
from typing import cast

from abi.grant_table import GrantStatus
from abi.types import Domid, GrantHandle
from grants.errors import GrantError
from grants.tables import HANDLES_PER_FRAME, NO_HANDLE, GrantDomainTable, MaptrackTable


class Maptrack:
    def __init__(self, domains: GrantDomainTable, table: MaptrackTable) -> None:
        self._share = table.rows // domains.rows
        self._next = cast("memoryview[GrantHandle]", table.ref)
        self._limit, self._max = domains.maptrack_limit, domains.maptrack_max
        self._head, self._tail = domains.maptrack_head, domains.maptrack_tail

    def take(self, domid: Domid) -> GrantHandle:
        """A handle for `domid`; it counts as used once its flags are set.  Raises GrantError(no_space)."""
        head = self._head[domid]
        if head != NO_HANDLE:
            following = self._next[domid * self._share + head]
            if following != NO_HANDLE:
                self._head[domid] = following
                return head
        limit = self._limit[domid]
        if limit >= self._max[domid]:
            raise GrantError(GrantStatus.no_space)
        end = limit + HANDLES_PER_FRAME
        links = array("I", range(limit + 1, end + 1))
        links[-1] = head
        row = domid * self._share + limit
        self._next[row:row + HANDLES_PER_FRAME] = memoryview(links)
        if head == NO_HANDLE:
            self._tail[domid] = GrantHandle(end - 1)
        self._head[domid], self._limit[domid] = GrantHandle(limit + 1), GrantHandle(end)
        return limit

    def put(self, domid: Domid, handle: GrantHandle) -> None:
        """`handle`, whose flags are 0, is free again."""
        row = domid * self._share
        self._next[row + handle] = GrantHandle(NO_HANDLE)
        self._next[row + self._tail[domid]] = handle
        self._tail[domid] = handle
