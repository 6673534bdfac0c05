"""What a kernel tells Xen of itself: ELF notes named "Xen" (xen/elfnote.h), or the older `__xen_guest` section.

Where they are looked for is libelf's rule: the PT_NOTE segments; if these have none, the SHT_NOTE sections; if these
have none either, the section `__xen_guest`, a string of `KEY=value` pairs.  Notes of other owners do not count.
"""

from collections.abc import Iterable, Iterator
from struct import Struct

from abi.elfnote import Elfnote
from domains.elf import SHT_NOTE, Elf

_NOTE = Struct("<III")
_OWNER = b"Xen"


class XenNotes:
    """The notes of an image.  Of several notes of one type the last counts, as in Xen.

    `source` is "PT_NOTE", "SHT_NOTE", "__xen_guest" or "" (there is nothing).  `legacy` has the pairs of the old
    section, where that is the source.
    """

    def __init__(self, elf: Elf) -> None:
        self._notes: dict[int, bytes] = {}
        self.legacy: dict[str, str] = {}
        self.source = ""
        if self._collect(elf.note_segments):
            self.source = "PT_NOTE"
        elif self._collect(section.data for section in elf.sections if section.type == SHT_NOTE):
            self.source = "SHT_NOTE"
        else:
            section = elf.section("__xen_guest")
            if section is not None:
                self.source = "__xen_guest"
                self.legacy = parse_xen_guest(bytes(section.data))

    def _collect(self, pieces: Iterable[memoryview]) -> bool:
        for piece in pieces:
            for owner, kind, content in notes(piece):
                if owner == _OWNER:
                    self._notes[kind] = content
        return bool(self._notes)

    def __contains__(self, kind: Elfnote) -> bool:
        return kind in self._notes

    def names(self) -> list[str]:
        """The notes that there are, by name, in order of their numbers."""
        known = set(Elfnote)
        return [Elfnote(kind).name if kind in known else f"type {kind}" for kind in sorted(self._notes)]

    def raw(self, kind: Elfnote) -> bytes | None:
        """The content of a note, shorter than it says where the file ends within it."""
        return self._notes.get(kind)

    def number(self, kind: Elfnote) -> int | None:
        """A numeric note; 0 where its size is none that a number has; None without such a note."""
        content = self._notes.get(kind)
        if content is None:
            return None
        return int.from_bytes(content, "little") if len(content) in (1, 2, 4, 8) else 0

    def string(self, kind: Elfnote) -> str | None:
        """A string note up to its zero; None without such a note."""
        content = self._notes.get(kind)
        return None if content is None else content.split(b"\0", 1)[0].decode("latin-1")


def notes(data: memoryview) -> Iterator[tuple[bytes, int, bytes]]:
    """Owner, type and content of each note.  One that runs past the end is cut, and is the last."""
    at = 0
    while at + _NOTE.size <= len(data):
        name_size, content_size, kind = _NOTE.unpack_from(data, at)
        name_at = at + _NOTE.size
        content_at = name_at + (name_size + 3 & ~3)
        if content_at > len(data):
            return
        yield (bytes(data[name_at:name_at + name_size]).rstrip(b"\0"), kind,
               bytes(data[content_at:content_at + content_size]))
        at = content_at + (content_size + 3 & ~3)


def parse_xen_guest(text: bytes) -> dict[str, str]:
    """The pairs of a `__xen_guest` section; a key without a value has an empty one."""
    pairs = {}
    for part in text.split(b"\0", 1)[0].decode("latin-1").split(","):
        key, _, value = part.partition("=")
        if key:
            pairs[key] = value
    return pairs
