"""The parts of a domain that travel between nodes with batons, as one node has them: see `domains.travel`."""

from collections.abc import Callable

from abi.types import PAGE_SIZE
from state.replica import Delta, Replica


class Part:
    """One part of one domain on this node; `size` and `ranges` are NodeRanges' for that part."""

    def __init__(self, replica: Replica, size: Callable[[], tuple[int, ...]],
                 ranges: Callable[[], list[tuple[int, int]]]) -> None:
        self.replica, self._size, self._ranges = replica, size, ranges
        self._known: tuple[int, ...] | None = None

    def collect(self, peer: int) -> Delta:
        """Hand it on."""
        self.refresh()
        return self.replica.collect(peer)

    def refresh(self) -> None:
        """Add what has become the domain's since."""
        known = self._size()
        if known != self._known:
            self._known = known
            for offset, length in self._ranges():
                self._cover(offset, length)

    def _cover(self, offset: int, length: int) -> None:
        end, ranges = offset + length, self.replica.ranges
        while offset < end and (found := ranges.at(offset)) is not None:
            offset += found.length
        if offset < end:
            self.replica.add(offset, end - offset)


class HotPart(Part):
    """The hot part, with pages that come and go; `pages` is NodeRanges' for the domain."""

    def __init__(self, replica: Replica, size: Callable[[], tuple[int, ...]],
                 ranges: Callable[[], list[tuple[int, int]]], pages: Callable[[], dict[int, int]],
                 memory: int) -> None:
        super().__init__(replica, size, ranges)
        self._pages, self._memory = pages, memory
        self.fetched: set[int] = set()
        """Addresses of pages that are here because another node than the domain's uses them."""

    def refresh(self) -> None:
        known = self._known
        super().refresh()
        if known != self._known:
            self._settle()

    def _settle(self) -> None:
        """Have exactly what is wanted in pages."""
        wanted = dict.fromkeys(self.fetched, PAGE_SIZE)
        for offset, length in self._pages().items():
            if offset & -PAGE_SIZE not in self.fetched:
                wanted[offset] = length
        for entry in self.replica.ranges.within(0, self._memory):
            if wanted.get(entry.offset) == entry.length:
                del wanted[entry.offset]
            else:
                self.replica.remove(entry.offset, entry.length)
        for offset, length in wanted.items():
            self.replica.add(offset, length)

    def share(self, address: int, home: int) -> None:
        """A page travels from now on; its home has the same bytes."""
        if address not in self.fetched and self.replica.ranges.at(address) is None:
            for entry in self.replica.ranges.within(address, PAGE_SIZE):
                self.replica.remove(entry.offset, entry.length)
            self.replica.add(address, PAGE_SIZE, home)
            self.fetched.add(address)

    def keep(self, pages: set[int]) -> None:
        """At home: only these are used elsewhere."""
        if pages != self.fetched:
            self.fetched &= pages
            self._settle()

    def look(self) -> None:
        """Other nodes may have changed which pages travel."""
        own = self._pages()
        self.fetched = {entry.offset for entry in self.replica.ranges.within(0, self._memory)
                        if entry.length == PAGE_SIZE and entry.offset not in own}
