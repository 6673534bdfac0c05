"""A process dies at each step of handing a baton on, or of taking it, without the nodes' agents: the others go on."""

import os
import signal
import socket

import pytest
from test_lost_nodes import pair, plan, reports
from test_lost_processes import FOREVER, Nowhere

from domains.baton import Baton
from domains.lanes import Lanes
from experiments import node_processes
from experiments.node_processes import Session
from toolstack import local
from toolstack.runtime import RunOptions
from toolstack.wire import LinkWire

_AFTER = 200
"""Calls of the step that are survived."""


def die_at(monkeypatch, where, step, *, before):
    """Have the second actor's process die at its call number _AFTER of a method of ours, in it or behind it."""
    usual, calls = getattr(where, step), []

    def dying(self, *arguments):
        counts = _row(self) == 2
        calls.append(None) if counts else None
        last = counts and len(calls) >= _AFTER
        if last and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = usual(self, *arguments)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    monkeypatch.setattr(where, step, dying)


def _row(thing):
    return thing._endpoint.node if isinstance(thing, LinkWire) else thing._me


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (1, 2), (2, 1)])
@pytest.mark.parametrize(("where", "step", "before"), [
    (Lanes, "collect", False), (LinkWire, "send", True), (LinkWire, "send", False),
    (Lanes, "take", True), (Lanes, "take", False), (Baton, "arrive", False)],
    ids=["collected", "about to send", "sent", "received", "written", "told"])
def test_others_go_on(configs, monkeypatch, first, second, where, step, before):
    usual = local.run(plan(configs, pair(10, 0, 0) | pair(1000, 0, 0, "other-")), RunOptions(timeout=60), Nowhere())
    die_at(monkeypatch, where, step, before=before)
    session = Session(plan(configs, pair(FOREVER, first, second) | pair(1000, second, 3 - first - second, "other-")))
    try:
        session.start()
        session.actors[1].process.join(30)
        assert session.actors[1].process.exitcode == -signal.SIGKILL
        for node in {0, second}:
            session.nodes[node].call("lost", 2)
        session.finish(60)
        found = reports(session)
        assert found["pong"].exit == "crash"
        assert found["ping"].exit not in ("crash", "poweroff")
        for name in ("other-ping", "other-pong"):
            assert (found[name].exit, found[name].digest) == ("poweroff", usual.domains[name].digest)
    finally:
        session.close()


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2)])
def test_a_link_that_breaks_with_a_baton_on_it(configs, monkeypatch, first, second):
    """Nobody died: the baton is found, nothing is lost, and the agents carry it from then on."""
    usual, sends = LinkWire.send, []

    def breaking(self, process, message):
        sends.append(None)
        if len(sends) == _AFTER:
            self._endpoint._link(process)._sock.shutdown(socket.SHUT_RDWR)
        else:
            usual(self, process, message)

    monkeypatch.setattr(LinkWire, "send", breaking)
    found = plan(configs, pair(1000, first, second))
    wanted = local.run(found, RunOptions(timeout=60), Nowhere())
    spread = node_processes.run(found, RunOptions(timeout=60), Nowhere())
    assert spread.digest == wanted.digest
    assert 0 < sum(link.direct for link in spread.links) < 600
