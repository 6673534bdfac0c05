"""The flat tables of the grant code.

All but the first hold an equal share of their rows for each domain: row = domid * share + index.  The host decides
the shares when it lays the tables out; they bound what `GrantTables.create` can promise a domain.  Rows are only
touched as they come into use, so a generous share costs address space and no memory.
"""

from collections.abc import Mapping
from typing import ClassVar

from abi.grant_table import GRANT_ENTRY_V1, GRANT_ENTRY_V2, GRANT_STATUS_SIZE
from abi.layout import measure
from abi.types import PAGE_SIZE, Domid, GrantHandle, GrantRef, Mfn
from state.table import Table

DEFAULT_MAX_GRANT_FRAMES = 64
DEFAULT_MAX_MAPTRACK_FRAMES = 1024
"""Xen's defaults of `gnttab_max_frames` and `gnttab_max_maptrack_frames`."""
ENTRIES_PER_FRAME = PAGE_SIZE // measure(GRANT_ENTRY_V1, 64)[0]
"""Of version 1, which has the most: 512."""
ENTRIES_PER_FRAME_V2 = PAGE_SIZE // measure(GRANT_ENTRY_V2, 64)[0]
STATUS_PER_FRAME = PAGE_SIZE // GRANT_STATUS_SIZE
FRAMES_PER_STATUS_FRAME = STATUS_PER_FRAME // ENTRIES_PER_FRAME_V2
"""Frames of version 2's entries whose status words fill one frame: 8."""
DEFAULT_MAX_STATUS_FRAMES = DEFAULT_MAX_GRANT_FRAMES // FRAMES_PER_STATUS_FRAME
HANDLES_PER_FRAME = PAGE_SIZE // 16
"""Xen's struct grant_mapping has 16 bytes."""
NO_HANDLE = 0xFFFFFFFF


class GrantDomainTable(Table):
    """One row a domain."""

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "version": "B", "max_version": "B", "kind": "B",
        "nr_frames": "I", "max_frames": "I", "nr_entries": "I",
        "maptrack_limit": "I", "maptrack_max": "I", "maptrack_head": "I", "maptrack_tail": "I",
        "mapped": "Q", "unmapped": "Q", "lingering": "I",
    }
    version: "memoryview[int]"
    """1 or 2; 0 where the domain has no grant table, hence does not exist for this code."""
    max_version: "memoryview[int]"
    kind: "memoryview[int]"
    """Which HostMapping serves the domain."""
    nr_frames: "memoryview[int]"
    max_frames: "memoryview[int]"
    nr_entries: "memoryview[int]"
    """References below this exist."""
    maptrack_limit: "memoryview[GrantHandle]"
    """Handles that exist, free or not."""
    maptrack_max: "memoryview[int]"
    """Handles to which that may grow."""
    maptrack_head: "memoryview[GrantHandle]"
    """The free handle to use next, or NO_HANDLE; the others follow through MaptrackTable.ref."""
    maptrack_tail: "memoryview[GrantHandle]"
    mapped: "memoryview[int]"
    """Grants that the domain ever mapped."""
    unmapped: "memoryview[int]"
    """How many of these it has unmapped since; the difference is the number of handles in use."""
    lingering: "memoryview[int]"
    """Of a dead domain: its grants that others still have mapped.  Its number is not free before that is 0."""


class GrantFrameTable(Table):
    """The frames of each domain's shared table, in order."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"mfn": "Q"}
    mfn: "memoryview[Mfn]"


class GrantStatusTable(Table):
    """The frames of each domain's status words, in order: as many as `status_frames` says."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"mfn": "Q"}
    mfn: "memoryview[Mfn]"


def status_frames(version: int, frames: int) -> int:
    """How many status frames a table of so many frames has (grant_to_status_frames)."""
    return -(-frames // FRAMES_PER_STATUS_FRAME) if version == 2 else 0


class ActiveTable(Table):
    """Xen's active grant entries: what was true of a shared entry when it was mapped, for as long as it is."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"pin": "I", "domid": "H", "mfn": "Q"}
    pin: "memoryview[int]"
    """Four counters of eight bits (grants/pins.py); the other columns mean something where it is not 0."""
    domid: "memoryview[Domid]"
    """Who has it mapped."""
    mfn: "memoryview[Mfn]"


class MaptrackTable(Table):
    """Handles of a mapping domain."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"flags": "H", "domid": "H", "ref": "I", "address": "Q"}
    flags: "memoryview[int]"
    """GNTMAP_* of what is still mapped through the handle; 0 where it is free."""
    domid: "memoryview[Domid]"
    """Who granted."""
    ref: "memoryview[GrantRef]"
    """The grant reference; of a free handle the next free one, or NO_HANDLE."""
    address: "memoryview[int]"
    """Where it is mapped (`host_addr`), where it has a host mapping."""
