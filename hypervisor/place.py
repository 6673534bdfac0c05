"""On which node each domain lives, where a host lies on several: see docs/many-nodes.md."""

from collections.abc import Mapping
from typing import ClassVar

from state.table import Table


class PlaceTable(Table):
    """Row = domid.  All zero on a host of one node.  `here` is each node's own, the rest is the same on all."""

    COLUMNS: ClassVar[Mapping[str, str]] = {"home": "H", "here": "B", "store_ring": "Q"}
    home: "memoryview[int]"
    """The node whose processes run the domain."""
    here: "memoryview[int]"
    """This node has the part of the domain's state that does not travel with every baton (`hypervisor.node_ranges`)."""
    store_ring: "memoryview[int]"
    """Machine address of the page between the domain and the store, so that nobody needs its p2m to find it; or 0."""
