"""GNTTABOP_transfer: a domain gives a page to one whose entry says GTF_accept_transfer (gnttab_transfer).

As in Xen, a page that can be given and is then not taken is lost to its giver.
"""

from collections.abc import Callable, Mapping

from abi.errno import XenError
from abi.grant_table import GrantStatus
from abi.types import Domid, Gfn, GrantRef
from grants.entries import Entries
from grants.errors import GrantError
from grants.interfaces import PageMover
from grants.tables import GrantDomainTable


class GrantTransfers:
    """`entries` are by version."""

    def __init__(self, domains: GrantDomainTable, entries: Mapping[int, Entries], pages: PageMover) -> None:
        self._rows, self._version, self._nr_entries = domains.rows, domains.version, domains.nr_entries
        self._entries, self._pages = entries, pages
        self.require: Callable[[Domid, int], None] = lambda domid, other: None
        """See `grants.grant_table.Require`."""

    def transfer(self, giver: Domid, page: Gfn, taker: Domid, ref: GrantRef) -> None:
        """Give the taker, by its entry `ref`, a page of the giver's.

        Raises GrantError: bad_page, and the page stays, where it is not the giver's alone to give; bad_domain;
        general_error where the taker has as much memory as it may have, or does not accept; address_too_big where it
        finds no frame that it can have.
        """
        self.require(giver, taker)
        try:
            mfn = self._pages.givable(giver, page)
        except XenError:
            raise GrantError(GrantStatus.bad_page) from None
        try:
            if taker >= self._rows or not self._version[taker]:
                raise GrantError(GrantStatus.bad_domain)
            if not self._pages.has_room(taker) or ref >= self._nr_entries[taker]:
                raise GrantError(GrantStatus.general_error)
            entries = self._entries[self._version[taker]]
            place = entries.accepting(taker, ref, giver)
            try:
                frame = self._pages.move(mfn, taker, place)
            except XenError:
                raise GrantError(GrantStatus.address_too_big) from None
            entries.complete(taker, ref, frame)
        finally:
            self._pages.take_away(mfn)
