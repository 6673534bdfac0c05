"""kill -9 of what a host on Ray cannot do without: the hypervisor's actor, the program itself, an actor that starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolstack.ray_names import NAMESPACE, domain_name

pytestmark = pytest.mark.ray
REPOSITORY = Path(__file__).parents[3]
MARK = f"DOMUS_TEST_RUN={os.getpid()}"
CONFIG = """
domains:
  spin: {kernel: abuse/spin, memory: 16MiB, count: 2}
"""


def processes():
    """What lives: by pid its parent and its name, which Ray makes of what an actor is."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(entry.name)] = int(parent), (entry / "cmdline").read_text()
            except OSError:
                continue
    return found


def marked(pid):
    """Whether a process has the environment that the test gave to its run."""
    try:
        return MARK.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def family(pid):
    """`pid` and everything that it started, directly or not; by pid the name.

    Some of Ray's are nobody's children, but have their environment from it; workers are children of one of these.
    """
    alive = processes()
    members = {pid} & alive.keys() | {other for other in alive if marked(other)}
    while more := {child for child, (parent, _) in alive.items() if parent in members} - members:
        members |= more
    return {member: alive[member][1] for member in members}


def left_of(pids, patience):
    """Those of `pids` that still live after a while."""
    deadline = time.monotonic() + patience
    while pids & processes().keys() and time.monotonic() < deadline:
        time.sleep(0.1)
    return pids & processes().keys()


def ours_in_shared_memory():
    return {name for name in os.listdir("/dev/shm") if "domus" in name}


@pytest.fixture
def run(tmp_path):
    """launch.py on Ray, and whatever it leaves is ended when the test is over."""
    (tmp_path / "spin.yaml").write_text(CONFIG)
    command = [sys.executable, "launch.py", str(tmp_path / "spin.yaml"), "--runtime", "ray"]
    process = subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True, env=os.environ | dict([MARK.split("=")]))
    members = set()
    process.remember = lambda: members.update(family(process.pid)) or members
    yield process
    process.remember()
    process.kill()
    for member in left_of(members, 5):
        os.kill(member, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def wait_until_busy(run):
    lines = []
    for line in run.stdout:
        lines.append(line)
        if sum("this vCPU is busy" in line for line in lines) == 2:
            return
    raise AssertionError("".join(lines))


def find(run, title, patience=60.0):
    """The pid of one of the run's processes, as soon as there is one."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for pid, name in family(run.pid).items():
            if name.startswith(title):
                return pid
    raise AssertionError(f"no {title}: {family(run.pid)}")


def ends_with_one_line(run, text):
    """It ends with status 4 and a line of ours that has `text` (Ray has one of its own), and nothing is left."""
    members = run.remember()
    output = run.stdout.read()
    assert run.wait(60) == 4, output
    errors = [line for line in output.splitlines() if line.startswith("host error:")]
    assert len(errors) == 1, output
    assert text in errors[0], output
    assert len(errors[0]) < 160, output
    assert "Traceback" not in output
    assert left_of(members, 15) == set()
    assert ours_in_shared_memory() == set()


def test_without_the_hypervisor_the_run_ends(run):
    wait_until_busy(run)
    run.remember()
    os.kill(find(run, "ray::HypervisorActor"), signal.SIGKILL)
    ends_with_one_line(run, "the hypervisor's actor died")


def test_an_actor_that_dies_while_it_starts_ends_the_run(run):
    os.kill(find(run, "ray::DomainActor"), signal.SIGKILL)
    ends_with_one_line(run, "died while it was being started")


def test_nothing_stays_behind_without_the_program(run):
    wait_until_busy(run)
    members = set(run.remember())
    members -= {pid for pid, name in family(run.pid).items() if "Agent" in name}  # Ray forgets these
    assert any(name.startswith("ray::DomainActor") for name in family(run.pid).values())
    run.kill()
    assert left_of(members, 30) == set()
    assert ours_in_shared_memory() == set()


def test_who_dies_while_it_ends_a_round_is_followed_by_another(ray_host, configs):
    import ray

    host = ray_host(configs)
    host.configure(expect={"victim": {"exit": "crash"}})
    host.domain("abuse/mourner", name="victim", cmdline="first=1 count=3 index=0 questions=3000 pause=1000")
    host.domain("abuse/mourner", name="one", cmdline="first=1 count=3 index=1 questions=3000 pause=1000")
    host.domain("abuse/mourner", name="other", cmdline="first=1 count=3 index=2 questions=3000 pause=1000")

    def trap(actor):
        from experiments.kill_python import kill_in_round

        kill_in_round(0, 5)

    started = host._started

    def set_trap(running):
        started(running)
        actor = ray.get_actor(domain_name("host", "victim"), namespace=NAMESPACE)
        ray.get(actor.__ray_call__.remote(trap))

    host._started = set_trap
    host.run(timeout=90)
    assert (host.report.outcome, host.failures) == ("finished", [])
    assert "actor died" in host.report.domains["victim"].exit_detail
    for name in ("one", "other"):
        assert any(line.startswith("PASS") for line in host.report.domains[name].console)
