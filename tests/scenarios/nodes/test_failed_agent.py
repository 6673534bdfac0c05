"""The agent of the first node ends with a mistake of ours: nobody who needs something of it waits for ever."""

import time

import pytest
from test_lost_nodes import pair, plan
from test_lost_processes import FOREVER, kill_process

import xenctrl
from experiments.node_processes import ProcessHost, Session
from toolstack.errors import HostError
from toolstack.node_images import Images
from toolstack.node_moves import Moves

LAST = 30


def break_down(*_: object) -> None:
    raise ZeroDivisionError("a mistake of ours")


def test_who_gathers_all_bytes_for_a_repair(configs, monkeypatch):
    monkeypatch.setattr(Images, "_on_sent", break_down)  # the nodes are forked from this process
    session = Session(plan(configs, pair(FOREVER, 0, 1)))
    try:
        session.start()
        time.sleep(0.3)
        kill_process(session, "pong")
        with pytest.raises(HostError, match="node 0: ZeroDivisionError: a mistake of ours"):
            session.finish(LAST)
    finally:
        session.close()


def test_who_waits_for_a_domain_to_arrive(configs, monkeypatch):
    monkeypatch.setattr(Moves, "_on_arrived", break_down)
    session = Session(plan(configs, pair(FOREVER, 1, 1) | pair(FOREVER, 0, 2, "other-")))
    try:
        session.start()
        with pytest.raises((ValueError, xenctrl.InterfaceError)):
            xenctrl.domain_migrate(xenctrl.Handle(ProcessHost(session.nodes[0])), 1, 2)
        with pytest.raises(HostError, match="node 0: ZeroDivisionError: a mistake of ours"):
            session.finish(LAST)
    finally:
        session.close()
