"""One run of a small host in several processes, of which some are killed; what is left is looked at in every way.

The processes are those of the Ray runtime without Ray: this one is the hypervisor's actor, each domain actor is a fork
of it, over one shared memory.  A process is killed as the system would: by SIGKILL, wherever it is.
"""

import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from abi.types import Domid
from domains.runner import Outcome
from experiments.kill_front import kill_at_write
from experiments.kill_invariants import violations
from experiments.kill_python import kill_in_hypercall, kill_in_round
from hypervisor.hypervisor import Hypervisor
from hypervisor.repair import Wrong
from toolstack.domain_actor import DomainActor, Result
from toolstack.hypervisor_actor import HypervisorActor
from toolstack.plan import HostPlan

PATIENCE = 60.0
"""Seconds that a run may take, many times what it needs."""


class Kind(Enum):
    """When processes are killed."""

    INSTANT = "at any instant"
    SEVERAL = "several at any instants"
    TOGETHER = "several at the same instant"
    FRONT = "before a write of the native front"
    PYTHON = "before a write of a hypercall in Python"
    ROUND = "before a write of the end of a round"


@dataclass
class Trial:
    """What was found."""

    kind: Kind
    seconds: float = 0.0
    """From the start of the domains to their end."""
    killed: int = 0
    crashed: int = 0
    """Domains that went with them; one that had ended before is not crashed."""
    repaired: int = 0
    """Kills that left something that the living depend on half done."""
    survivors: int = 0
    problems: list[str] = field(default_factory=list)


class _Process:
    """A domain actor in a process of its own."""

    def __init__(self, number: int, actor: DomainActor, plan: HostPlan, hypervisor: HypervisorActor,
                 before: Callable[[], None]) -> None:
        self.number = number
        self._from, to_parent = os.pipe()
        from_parent, self._to = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                os.close(self._to)
                before()
                actor.attach(plan, number, hypervisor.attachment())
                os.write(to_parent, b"+")
                os.read(from_parent, 1)
                with os.fdopen(to_parent, "wb") as file:
                    pickle.dump(actor.run(), file)
                status = 0
            finally:
                os._exit(status)
        os.close(to_parent)
        os.close(from_parent)
        self.status: int | None = None

    def wait_attached(self) -> None:
        if os.read(self._from, 1) != b"+":
            raise RuntimeError(f"process {self.number} did not attach")

    def begin(self) -> None:
        os.write(self._to, b"+")

    def ended(self) -> bool:
        """Reaps it if it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def kill(self) -> bool:
        if self.ended():
            return False
        os.kill(self.pid, signal.SIGKILL)
        return True

    def results(self) -> list[Result]:
        """What it reported; to be called once, and not for a process that was killed."""
        with os.fdopen(self._from, "rb") as file:
            self._from = -1
            results: list[Result] = pickle.load(file)
        return results

    def close(self) -> None:
        self.kill()
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]
        for file in (self._from, self._to):
            with suppress(OSError):
                os.close(file)


def run(plan: HostPlan, actor: DomainActor, kind: Kind, dice: random.Random, length: float, writes: int) -> Trial:
    """Run `plan`, whose domains are of `guests/abuse/mourner`, and kill some of its processes.

    `actor` is forked for each; `length` is how many seconds a run takes, `writes` how many the front makes in it.
    """
    trial = Trial(kind)
    hypervisor = HypervisorActor(plan)
    _check_each_burial(hypervisor.hv, trial)
    victims = _victims(plan, kind, dice)
    processes: list[_Process] = []
    try:
        for number in range(1, len(plan.actors) + 1):
            arm = _trap(kind, dice, actor, writes) if number in victims else lambda: None
            processes.append(_Process(number, actor, plan, hypervisor, arm))
        for process in processes:
            process.wait_attached()
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(hypervisor.run()), daemon=True)
        thread.start()
        for process in processes:
            process.begin()
        _watch(hypervisor, processes, [processes[number - 1] for number in victims], kind, dice, length, trial)
        thread.join(5)
        if not outcomes:
            trial.problems.append(f"the run did not end: {_state(hypervisor)}")
        elif outcomes[0] != Outcome.FINISHED:
            trial.problems.append(f"the run ended with {outcomes[0].name}: {_state(hypervisor)}")
        if not trial.problems:
            _check_end(plan, hypervisor, processes, trial)
    finally:
        hypervisor.stop()
        hypervisor.hv.host.outcome[0] = hypervisor.hv.host.outcome[0] or Outcome.STOPPED
        for process in processes:
            process.close()
        hypervisor.close()
    return trial


def _trap(kind: Kind, dice: random.Random, actor: DomainActor, writes: int) -> Callable[[], None]:
    """What a process does first that is to kill itself."""
    front = actor.meter.fast_path
    if kind == Kind.FRONT and front is not None:
        number = dice.randrange(1, writes)
        return lambda: kill_at_write(front, number)
    if kind == Kind.PYTHON:
        call, write = dice.randrange(600), dice.randrange(30)
        return lambda: kill_in_hypercall(call, write)
    if kind == Kind.ROUND:
        end, write = dice.randrange(5), dice.randrange(50)
        return lambda: kill_in_round(end, write)
    return lambda: None


def _victims(plan: HostPlan, kind: Kind, dice: random.Random) -> list[int]:
    """Numbers of processes; now and then all of them."""
    everybody = range(1, len(plan.actors) + 1)
    most = len(everybody) if kind in (Kind.SEVERAL, Kind.TOGETHER) and dice.random() < 0.1 else len(everybody) - 1
    count = dice.randint(2, most) if kind in (Kind.SEVERAL, Kind.TOGETHER) else 1
    return dice.sample(everybody, count)


def _watch(hypervisor: HypervisorActor, processes: list[_Process], victims: list[_Process], kind: Kind,
           dice: random.Random, length: float, trial: Trial) -> None:
    """Kill the victims when it is time, tell the hypervisor of each that died, until all have ended."""
    started = time.perf_counter()
    same = dice.uniform(0, length)
    due = [(same if kind == Kind.TOGETHER else dice.uniform(0, length), victim) for victim in victims]
    traps = kind in (Kind.FRONT, Kind.PYTHON, Kind.ROUND)
    if traps:
        due = []
    left, graves = list(processes), []
    while left and time.perf_counter() - started < PATIENCE:
        now = time.perf_counter() - started
        for moment, victim in list(due):
            if now >= moment:
                due.remove((moment, victim))
                trial.killed += victim.kill()
        for process in list(left):
            if process.ended():
                left.remove(process)
                if process.status:
                    trial.killed += traps
                    graves.append(threading.Thread(target=hypervisor.lost, args=(process.number,), daemon=True))
                    graves[-1].start()
        first = min((moment for moment, _ in due), default=now + 1) - now
        time.sleep(max(0.0, min(0.002, first)))
    trial.seconds = time.perf_counter() - started
    for grave in graves:
        grave.join(5)


def _check_each_burial(hv: Hypervisor, trial: Trial) -> None:
    bury = hv.lose

    def checked(*arguments: object) -> Wrong:
        wrong = bury(*arguments)  # type: ignore[arg-type]
        trial.repaired += any(wrong)
        trial.problems += [f"after the burial: {text}" for text in violations(hv)[:5]]
        return wrong

    hv.lose = checked  # type: ignore[assignment]


def _check_end(plan: HostPlan, hypervisor: HypervisorActor, processes: list[_Process], trial: Trial) -> None:
    hv = hypervisor.hv
    trial.problems += violations(hv)[:5]
    for process in processes:
        domids = plan.actors[process.number - 1].domids
        if process.status:
            for domid in domids:
                report = hypervisor.report(domid)
                trial.crashed += report.exit == "crash"
                if report.exit not in ("crash", "poweroff"):
                    trial.problems.append(f"domain {domid}, whose process died, is {report.exit}")
            continue
        for result in process.results():
            trial.survivors += 1
            told = [line for line in result.report.console if line.startswith(("PASS", "FAIL"))]
            if result.report.exit != "poweroff" or not all(line.startswith("PASS") for line in told) or not told:
                trial.problems.append(f"{result.report.name} ended with {result.report.exit}: "
                                      f"{(told or result.report.console)[-1:]} {result.report.exit_detail}")
    heaps = hv.frames.heap
    for domain in plan.domains:
        if not heaps.is_whole(Domid(domain.domid)):
            trial.problems.append(f"not all memory of domain {domain.domid} is free")
    for domid in range(1, hv.domains.rows):
        if hv.domains.tot_pages[domid] or hv.grants.domains.lingering[domid]:
            trial.problems.append(f"domain {domid} has ended and is not gone")


def _state(hypervisor: HypervisorActor) -> str:
    hv, batons = hypervisor.hv, hypervisor.batons
    vcpus = [(hv.domains.state[hv.vcpus.domid[row]], hv.vcpus.runstate[row], hv.vcpus.due[row])
             for row in range(1, hv.vcpus.rows)]
    return f"vCPUs {vcpus}, words {batons.word.tolist()}, teams {batons.team.tolist()} {batons.state.tolist()}"
