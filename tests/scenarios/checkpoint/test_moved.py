"""The bytes of a domain, with those of whom it shares something with, are all that it needs on another host."""

import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from abi.types import NEVER, Domid, VcpuRow
from domains.fast_path import load_fast_path
from domains.native import BlockMeter
from domains.runner import Outcome, Runner
from domains.seat import OnlySeat
from domains.vcpu import Vcpu
from hypervisor.domain import create_host_seat
from hypervisor.domain_ranges import HOST, Range, copy_ranges, domain_ranges, held
from hypervisor.hypervisor import Hypervisor
from state.dirty_scan import DirtyScan
from toolstack.checkpoint_parts import DomainPart, restore_domain, save_domain
from toolstack.load import from_data
from toolstack.local import LocalIo
from toolstack.plan import HostPlan
from toolstack.session import build_domain, create_domains, make_hypervisor, memory_file, shape_of, start_domains

DOMAINS = {
    "clockwatch": {"kernel": "clockwatch"},
    "writer": {"kernel": "writer", "cmdline": "peer=${reader.domid}"},
    "reader": {"kernel": "reader", "cmdline": "peer=${writer.domid}", "memory": "32MiB"},
    "pv-writer": {"kernel": "writer", "type": "pv", "cmdline": "peer=${pv-reader.domid}"},
    "pv-reader": {"kernel": "reader", "type": "pv", "cmdline": "peer=${pv-writer.domid}", "memory": "32MiB"},
    "sleeper": {"kernel": "first_steps", "type": "pv"},
}
GROUPS = ((1,), (2, 3), (4, 5), (6,))
"""Who shares pages or ports with whom."""


class Silent:
    def console_line(self, name: str, text: str) -> None: ...

    def hypervisor_line(self, text: str) -> None: ...


class Machine:
    """A host in this process, that can be stopped at any mark."""

    def __init__(self, plan: HostPlan, descriptor: int, meter: BlockMeter) -> None:
        self.plan, self.descriptor, self.meter = plan, descriptor, meter
        self.memory = mmap.mmap(descriptor, shape_of(plan).size)
        self.view = memoryview(self.memory)
        self.io = LocalIo(plan, Silent())
        self.hv: Hypervisor = make_hypervisor(plan, self.memory, self.io)
        self.vcpus: dict[VcpuRow, Vcpu] = {}

    def create(self) -> None:
        create_domains(self.hv, self.plan)
        for domain in self.plan.domains:
            self.vcpus |= build_domain(self.hv, self.plan.name, domain, self.meter)
        start_domains(self.hv, self.plan)

    def receive(self, parts: dict[int, DomainPart]) -> None:
        """The bytes of these domains are there, and their parts."""
        for domain in self.plan.domains:
            if domain.domid in parts:
                self.vcpus |= restore_domain(self.hv, domain, parts[domain.domid], self.io, [], self.meter)
        self.hv.host.alive[0] = sum(self.hv.domains.state[domid] != 4 for domid in parts)

    def run(self, mark: int = NEVER, marked: Callable[[], None] = lambda: None) -> Outcome:
        """Until the end, or `marked` stops it."""
        self.hv.host.mark[0] = mark
        self.hv.host.outcome[0] = self.hv.host.stop[0] = 0
        seat = OnlySeat(lambda: bool(self.hv.host.outcome[0]))
        return Runner(self.hv, self.vcpus, seat, lambda: None, lambda time: None, marked).run()

    def run_until(self, mark: int, then: Callable[[], None]) -> None:
        """Have something done when all are at the mark, and stop."""
        def stop() -> None:
            then()
            self.hv.host.stop[0], self.hv.host.mark[0] = 1, NEVER

        assert self.run(mark, stop) == Outcome.STOPPED

    def held(self, *domids: int) -> list[Range]:
        return held(ranges(self, *domids), self.descriptor, len(self.view))

    def part(self, domid: int) -> DomainPart:
        return save_domain(self.hv, Domid(domid), self.vcpus, self.io, [])

    def said(self, domids: tuple[int, ...]) -> object:
        """What they printed, and how they ended."""
        return [(self.io.consoles[domid].lines, self.hv.domains.shutdown_code[domid]) for domid in domids]

    def facts(self, domids: tuple[int, ...]) -> object:
        """And when they did what.  Who calls other groups' domains waits for the ends of rounds, which depend on all
        groups that there are."""
        return self.said(domids), [
            (self.hv.trace.digest(Domid(domid)).hex(), self.hv.vcpus.local_time[self.hv.domains.vcpu_base[domid]])
            for domid in domids]


@pytest.fixture
def machine() -> Iterator[Callable[[], Machine]]:
    plan, meter = from_data({"domains": DOMAINS}, Path()).plan(), BlockMeter(load_fast_path())
    with ExitStack() as stack:
        yield lambda: Machine(plan, stack.enter_context(memory_file("test", shape_of(plan).size)), meter)


def ranges(machine: Machine, *domids: int) -> list[Range]:
    return sorted(found for domid in domids for found in domain_ranges(machine.hv.state, Domid(domid)))


@pytest.fixture
def whole(machine: Callable[[], Machine]) -> Machine:
    """A host that has run to its end."""
    host = machine()
    host.create()
    assert host.run() == Outcome.FINISHED
    return host


@pytest.mark.parametrize("mark", [500_000, 2_000_000, 4_500_000])
def test_each_group_goes_on_alone_from_its_own_bytes(
        machine: Callable[[], Machine], whole: Machine, mark: int) -> None:
    before, alone = machine(), [machine() for _ in GROUPS]

    def copy() -> None:
        for group, after in zip(GROUPS, alone, strict=True):
            after.hv.sched.format()
            copy_ranges(before.view, after.view, before.held(HOST, *group))
            after.receive({domid: before.part(domid) for domid in group})

    before.create()
    before.run_until(mark, copy)
    for group, after in zip(GROUPS, alone, strict=True):
        assert after.run() == Outcome.FINISHED
        assert after.said(group) == whole.said(group), group
        if len(group) == 1:
            assert after.facts(group) == whole.facts(group), group


def test_a_group_moves_to_a_host_where_others_live(machine: Callable[[], Machine], whole: Machine) -> None:
    """With its memory sent ahead while it runs: then only what changed since is sent while it stands still."""
    source, target = machine(), machine()
    target.hv.format()
    create_host_seat(target.hv)
    source.create()
    moved, others, sent = (2, 3), (4, 5), list[int]()
    scan = DirtyScan(source.view[:shape_of(source.plan).size], ranges(source, *moved), source.descriptor)

    def send_ahead() -> None:
        sent.append(copy_ranges(source.view, target.view, scan.scan()))
        source.hv.host.mark[0] += 500_000
        if len(sent) == 5:
            copy_ranges(source.view, target.view, source.held(HOST))
            target.receive({domid: source.part(domid) for domid in moved})
            source.hv.host.stop[0] = 1

    source.run(1_500_000, send_ahead)
    assert sent[-1] < sent[0] / 2
    assert ranges(source, *moved) == ranges(target, *moved)
    assert target.run() == Outcome.FINISHED
    assert target.said(moved) == whole.said(moved)

    def send_others() -> None:
        copy_ranges(source.view, target.view, source.held(*others))
        target.receive({domid: source.part(domid) for domid in others})

    source.run_until(0, send_others)  # they move there too, later on, and find nothing of theirs taken
    assert target.run() == Outcome.FINISHED
    assert target.said(others) == whole.said(others)
