"""A node, or a process, dies at any moment while a domain moves from it or to it: nobody waits for ever."""

import random
import threading
import time

import pytest

import xenctrl
from experiments.node_processes import ProcessHost, Session
from toolstack.load import from_data
from toolstack.orders import Work

LAST = 60
ROUNDS = 2000


def plan(configs, source, nodes=3):
    """Who moves and the one that it ping-pongs with, others that do, and one that is alone; on nodes in turn."""
    domains = {
        "traveller": {"kernel": "traveller", "cmdline": "laps=60", "memory": "16MiB", "placement": {"node": source}}}
    for stem, first, second in (("near", 0, 0), ("far", 0, 1), ("further", 0, 2)):
        for role, peer, node in (("ping", "pong", first), ("pong", "ping", second)):
            domains[f"{stem}-{role}"] = {
                "kernel": "pingpong", "cmdline": f"role={role} peer=${{{stem}-{peer}.domid}} rounds={ROUNDS}",
                "memory": "8MiB", "placement": {"node": node}}
    return from_data({"domains": domains, "placement": {"nodes": nodes}}, configs).plan()


def pair_plan(configs, source):
    """Both of a pair that does not end by itself: one moves, the other is on the first node."""
    domains = {
        name: {"kernel": "pingpong", "cmdline": f"role={role} peer=${{{peer}.domid}} rounds={rounds}",
               "memory": "8MiB", "placement": {"node": node}}
        for name, role, peer, rounds, node in (
            ("traveller", "ping", "stays", 20000, source), ("stays", "pong", "traveller", 20000, 0),
            ("near-ping", "ping", "near-pong", ROUNDS, 0), ("near-pong", "pong", "near-ping", ROUNDS, 0))}
    return from_data({"domains": domains, "placement": {"nodes": 3}}, configs).plan()


class Watched(Session):
    """Calls `act` in a thread when an order of this kind has been carried out, or begins to be where `first`."""

    def __init__(self, plan, work, act, first=False):
        self._work, self._act, self._first = work, act, first
        super().__init__(plan)

    def _carry_out(self, order, parts):
        if order.work != self._work:
            return super()._carry_out(order, parts)
        acting = threading.Thread(target=self._act, args=(self,))
        if self._first:
            acting.start()
        try:
            return super()._carry_out(order, parts)
        finally:
            if not self._first:
                acting.start()


class Mover:
    """Moves the first domain in a thread of its own, and keeps what came of it."""

    def __init__(self, session, target):
        self.moved, self.error, self.begun = None, None, threading.Event()
        self._handle = xenctrl.Handle(ProcessHost(session.nodes[0]))
        self._thread = threading.Thread(target=self._move, args=(target,))
        self._thread.start()

    def _move(self, target):
        self.begun.set()
        try:
            self.moved = xenctrl.domain_migrate(self._handle, 1, target)
        except (ValueError, xenctrl.InterfaceError) as error:
            self.error = error

    def finish(self):
        self._thread.join(LAST)
        assert not self._thread.is_alive(), "who asked for the move still waits"


def kill_process(session, process, node):
    """As a runtime does: it sees that, and tells the first node and the process's own."""
    session.actors[process - 1].kill()
    for number in {0, node}:
        session.nodes[number].call("lost", process)


def reports(session):
    """What is known of all domains when the run has ended."""
    found = {}
    for results in (*session.results, *session.moved_results.values()):
        try:
            for result in results.result(20):
                found[result.report.name] = result.report
        except ProcessLookupError:
            continue
    for domain in session.plan.domains:
        if domain.name not in found:
            found[domain.name] = session.nodes[0].call("report", domain.domid).result(5)
    return found


def run_and_lose(session, noise, target, lose):
    """What is left when the run has ended: reports, and the move."""
    try:
        session.start()
        time.sleep(noise.uniform(0.0, 0.2))
        mover = Mover(session, target)
        assert mover.begun.wait(LAST)
        time.sleep(noise.choice((noise.uniform(0.0, 0.1), noise.uniform(0.0, 0.6))))
        lose()
        session.finish(LAST)
        mover.finish()
        return reports(session), mover
    finally:
        session.close()


def others(found, lost):
    """How those ended that have no part on the node that is lost."""
    apart = {0: (), 1: ("far-ping", "far-pong"), 2: ("further-ping", "further-pong")}[lost]
    return {name: report.exit for name, report in found.items() if name not in ("traveller", *apart)}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("source", "target", "lost"), [(0, 1, 1), (1, 0, 1), (1, 2, 1), (1, 2, 2)])
def test_a_node_is_lost_while_a_domain_moves_from_or_to_it(configs, source, target, lost, seed):
    noise = random.Random(f"{seed} {source} {target} {lost}")
    session = Session(plan(configs, source))
    found, mover = run_and_lose(session, noise, target, lambda: session.kill_node(lost))
    left = others(found, lost)
    assert set(left.values()) == {"poweroff"}, left
    traveller = found["traveller"]
    if mover.moved is not None:
        assert traveller.exit == ("crash" if lost == target else "poweroff"), traveller.exit_detail
    elif lost == target:
        assert traveller.exit == "poweroff", (traveller.exit_detail, mover.error)
    else:
        assert (traveller.exit, "node is lost" in traveller.exit_detail) == ("crash", True), mover.error


@pytest.mark.parametrize("seed", range(2))
def test_who_is_joined_to_it_goes_on_without_it(configs, seed):
    noise = random.Random(f"pair {seed}")
    source, target, lost = noise.choice([(1, 2, 1), (1, 2, 2), (0, 2, 2), (2, 0, 2)])
    session = Session(pair_plan(configs, source))
    found, mover = run_and_lose(session, noise, target, lambda: session.kill_node(lost))
    assert (found["near-ping"].exit, found["near-pong"].exit) == ("poweroff", "poweroff")
    if found["traveller"].exit == "poweroff":
        assert found["stays"].exit == "poweroff"
    else:
        assert found["traveller"].exit == "crash"
        assert "node is lost" in found["traveller"].exit_detail
        assert (mover.moved is None) == (lost == source)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("source", [0, 1])
def test_its_process_dies_while_it_is_copied(configs, source, seed):
    noise = random.Random(f"process {seed} {source}")
    session = Session(plan(configs, source))
    found, mover = run_and_lose(session, noise, 2, lambda: kill_process(session, 1, source))
    left = others(found, 0)
    assert set(left.values()) == {"poweroff"}, left
    if mover.moved is None:
        assert found["traveller"].exit == "crash", mover.error
    else:  # the process had given its only domain away, and nothing was lost with it
        assert found["traveller"].exit == "poweroff", found["traveller"].exit_detail


@pytest.mark.parametrize("seed", range(1))
@pytest.mark.parametrize("build", [plan, pair_plan])
@pytest.mark.parametrize("work", [Work.RELEASE, Work.ADOPT])
@pytest.mark.parametrize(("source", "target", "lost"), [(0, 1, 1), (1, 0, 1), (1, 2, 1), (1, 2, 2)])
def test_a_node_is_lost_while_all_stand_still_for_the_move(configs, source, target, lost, work, build, seed):
    noise, killed = random.Random(f"{seed} {source} {target} {lost} {work}"), threading.Event()
    delay = noise.uniform(0.0, 0.04)

    def act(session):
        time.sleep(delay)
        session.kill_node(lost)
        killed.set()

    session = Watched(build(configs, source), work, act, first=work == Work.ADOPT)
    found, mover = run_and_lose(session, noise, target, lambda: killed.wait(LAST))
    assert killed.is_set()
    traveller = found["traveller"]
    left = others(found, lost)
    if traveller.exit == "crash":
        left.pop("stays", None)
    assert set(left.values()) == {"poweroff"}, left
    if mover.moved is not None:
        assert traveller.exit == ("crash" if lost == target else "poweroff"), traveller.exit_detail
    elif lost == source:
        assert (traveller.exit, "node is lost" in traveller.exit_detail) == ("crash", True), mover.error
    elif "stays on node" in str(mover.error):
        assert traveller.exit == "poweroff", traveller.exit_detail
    else:
        assert traveller.exit == "crash", mover.error
