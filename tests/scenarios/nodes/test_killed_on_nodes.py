"""Processes on several nodes are killed at any instant, in the middle of anything: the tables are put right.

After each death, and at the end, all is counted anew on the first node, which then has the bytes of all nodes.
"""

import random
import threading
import time
from pathlib import Path

import pytest

from experiments.kill_invariants import violations
from experiments.node_processes import ProcessActor, Session
from toolstack.hypervisor_actor import HypervisorActor
from toolstack.load import from_data

NODES, CROWD = 3, 4


class Checked(HypervisorActor):
    """Counts after each burial."""

    def _bury(self, process):
        bury, self.found = self.hv.lose, getattr(self, "found", [])

        def checked(lost):
            wrong = bury(lost)
            self.found.append((any(wrong), violations(self.hv)[:5]))
            return wrong

        self.hv.lose = checked
        try:
            super()._bury(process)
        except Exception as error:
            self.found.append((False, [repr(error)]))
            raise
        finally:
            self.hv.lose = bury

    def burials(self):
        return getattr(self, "found", [])


def crowd():
    """Domains that ask each other questions, over pages and channels that are made for each."""
    return from_data({"domains": {f"d{index}": {
        "kernel": "abuse/mourner", "memory": "8MiB", "placement": {"node": index % NODES},
        "cmdline": f"first=1 count={CROWD} index={index} questions=60 pause=300"} for index in range(CROWD)}},
        Path.cwd(), name="crowd").plan()


@pytest.mark.parametrize("seed", range(8))
def test_survivors_find_nothing_wrong(monkeypatch, seed):
    monkeypatch.setattr("experiments.node_processes.HypervisorActor", Checked)
    dice = random.Random(seed)
    victims = dice.sample(range(CROWD), dice.randint(1, 2))
    session = Session(crowd())
    try:
        session.start()
        for victim in victims:
            time.sleep(dice.uniform(0.05, 0.4))
            kill(session, victim)
        session.finish(60)
        for index, results in enumerate(session.results):
            if index not in victims:
                (result,) = results.result(20)
                told = [line for line in result.report.console if line.startswith(("PASS", "FAIL"))]
                assert result.report.exit == "poweroff"
                assert told
                assert all(line.startswith("PASS") for line in told)
        assert [found for _, found in session.nodes[0].call("burials").result(5) if found] == []
    finally:
        session.close()


def kill(session: Session, victim: int) -> None:
    actor: ProcessActor = session.actors[victim]
    actor.kill()
    for node in {0, session.plan.actors[victim].node}:
        threading.Thread(target=session.nodes[node].call, args=("lost", victim + 1), daemon=True).start()
