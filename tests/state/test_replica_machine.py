"""Random writes by whoever has the baton, and random hand-overs: all nodes see what one memory would have."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from replica_cluster import Cluster

from domains.native_cells import cells_factory
from state.cells import PythonCells

SIZE = 4096
SPANS = [(0, 1), (1, 2), (3, 61), (64, 64), (130, 200), (512, 1024), (2048, 7), (2055, 130), (3000, 1096)]
"""Ranges that never overlap."""


class Group(RuleBasedStateMachine):
    """A group on some nodes, half of which keep their cells in C."""

    @initialize(nodes=st.integers(2, 4), native_first=st.booleans())
    def start(self, nodes: int, native_first: bool) -> None:
        kinds = [cells_factory(), PythonCells] * 2
        self.cluster = Cluster(nodes, kinds if native_first else kinds[1:], SIZE)
        self.nodes = nodes

    @rule(span=st.sampled_from(SPANS))
    def share(self, span: tuple[int, int]) -> None:
        self.cluster.share(*span)

    @rule(span=st.sampled_from(SPANS), node=st.integers(0, 3))
    def share_what_another_node_has(self, span: tuple[int, int], node: int) -> None:
        """The bytes were fetched from the node where they are at home."""
        node %= self.nodes
        if span not in self.cluster.counts and node != self.cluster.holder:
            at, length = span
            self.cluster.buffers[self.cluster.holder][at:at + length] = self.cluster.buffers[node][at:at + length]
            self.cluster.share(*span, home=node)

    @precondition(lambda self: bool(self.cluster.counts))
    @rule(data=st.data())
    def unshare(self, data: st.DataObject) -> None:
        span = data.draw(st.sampled_from(sorted(self.cluster.counts)))
        self.cluster.unshare(*span)

    @rule(at=st.integers(0, SIZE - 1), content=st.binary(min_size=1, max_size=200))
    def write(self, at: int, content: bytes) -> None:
        self.cluster.write(at, content)

    @rule(steps=st.integers(1, 3))
    def hand_over(self, steps: int) -> None:
        node = (self.cluster.holder + steps) % self.nodes
        if node != self.cluster.holder:
            self.cluster.hand_over(node)

    @rule(steps=st.integers(1, 3))
    def hand_over_and_back(self, steps: int) -> None:
        """What comes back at once is nothing."""
        before, node = self.cluster.holder, (self.cluster.holder + steps) % self.nodes
        if node != before:
            self.cluster.hand_over(node)
            assert self.cluster.hand_over(before).data == b""

    @precondition(lambda self: self.nodes > 2)
    @rule(node=st.integers(0, 3))
    def forget(self, node: int) -> None:
        if node < self.nodes and node != self.cluster.holder:
            self.cluster.replica.forget(node)

    @precondition(lambda self: hasattr(self, "cluster"))
    @invariant()
    def the_holder_sees_one_memory(self) -> None:
        assert self.cluster.agrees()


TestGroup = Group.TestCase
TestGroup.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
