"""A host on a cluster that is there already: submitted as a job, seen by Ray's own tools.

One cluster and one job for all tests: both take long.
"""

import re
import shlex
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[3]
NAME = "seen"
CONFIGURATION = f"""
name: {NAME}
clock: {{mode: host}}
domains:
  ping: {{kernel: pingpong, memory: 8MiB, cmdline: "role=ping peer=${{pong.domid}} rounds=100000000 mode=block"}}
  pong: {{kernel: pingpong, memory: 8MiB, cmdline: "role=pong peer=${{ping.domid}} mode=block"}}
  spin: {{kernel: abuse/spin, memory: 8MiB, cmdline: "for=6000", count: 2, placement: {{actor: box}}}}
expect: {{ping: {{exit: running}}, pong: {{exit: running}}}}
"""


@dataclass
class Seen:
    """What there was to see while the job ran, and after it."""

    actors: dict[str, str] = field(default_factory=dict)
    """Class by name."""
    metrics: str = ""
    job: str = ""
    status: str = ""
    logs: dict[str, str] = field(default_factory=dict)
    """Output of workers by file name."""


@pytest.fixture(scope="module")
def cluster():
    import toolstack.ray_environment  # noqa: F401

    # isort: split
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # what other tests share: its agents have the ports that this one's want
    made = Cluster(initialize_head=True, head_node_args={
        "include_dashboard": True, "dashboard_port": 0, "num_cpus": 2, "object_store_memory": 80 << 20,
        "_system_config": {"metrics_report_interval_ms": 1000}})
    yield made
    made.shutdown()


def documented_command(url, configuration):
    """The command of docs/ray.md that submits a job, for another cluster and another configuration."""
    (line,) = re.findall(r"^\$ (ray job submit .*)$", (ROOT / "docs" / "ray.md").read_text(), re.MULTILINE)
    ours = line.replace("http://127.0.0.1:8265", url).replace("configs/two_guests.yaml", str(configuration))
    assert url in ours
    assert str(configuration) in ours
    words = shlex.split(ours.replace("python launch.py", f"{sys.executable} launch.py"))
    return [str(Path(sys.executable).with_name(words[0])), *words[1:]]


def actors_now(address):
    from ray.util.state import list_actors

    found = list_actors(address=address, filters=[("ray_namespace", "=", "domus"), ("state", "=", "ALIVE")])
    return {actor.name: actor.class_name for actor in found}


def scraped(cluster):
    """What Prometheus would get."""
    from ray._raylet import GcsClient

    bodies = []
    for node in GcsClient(address=cluster.address).get_all_node_info().values():
        with urllib.request.urlopen(f"http://{node.node_manager_address}:{node.metrics_export_port}") as answer:
            bodies.append(answer.read().decode())
    return "\n".join(bodies)


@pytest.fixture(scope="module")
def seen(cluster, tmp_path_factory):
    """Runs the job, and looks at it until everything has shown up or it has ended."""
    configuration = tmp_path_factory.mktemp("job") / "seen.yaml"
    configuration.write_text(CONFIGURATION)
    result = Seen()
    url = f"http://{cluster.head_node.webui_url}"
    with subprocess.Popen(documented_command(url, configuration), cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as job:
        while job.poll() is None:
            time.sleep(0.5)
            result.actors |= actors_now(cluster.address)
            with suppress(OSError):  # at first it answers with errors
                body = scraped(cluster)
                result.metrics = body if "ray_domus" in body else result.metrics
        result.job, result.status = job.stdout.read(), str(job.returncode)
    logs = Path(cluster.head_node.get_session_dir_path(), "logs")
    result.logs = {file.name: file.read_text() for file in logs.glob("worker-*.out")}
    return result


def values(metrics, name, label):
    """A metric's values by one of its labels, for our host."""
    lines = re.findall(rf"^{name}{{(.*)}} (\S+)$", metrics, re.MULTILINE)
    return {re.search(rf'\b{label}="([^"]*)"', labels)[1]: float(value)
            for labels, value in lines if f'host="{NAME}"' in labels}


def test_the_job_does_what_launch_py_does(seen):
    assert seen.status == "0", seen.job
    assert "spin-1 | spin: done" in seen.job
    assert f"{NAME}: finished" in seen.job
    assert "runtime ray" in seen.job


def test_ray_lists_the_actors_by_name(seen):
    assert seen.actors == {f"{NAME}/hypervisor": "HypervisorActor", f"{NAME}/ping": "DomainActor",
                           f"{NAME}/pong": "DomainActor", f"{NAME}/box": "DomainActor"}


def test_what_guests_print_is_in_the_logs_of_their_workers(seen):
    (box,) = (text for text in seen.logs.values() if "spin-0 | " in text)
    assert "spin-0 | spin: done\n" in box
    assert "spin-1 | spin: done\n" in box
    assert any("(XEN) (d1) BENCH start" in text for text in seen.logs.values())


def test_prometheus_gets_what_every_domain_does(seen):
    domains = {"ping", "pong", "spin-0", "spin-1"}
    for name in ("ray_domus_hypercalls_total", "ray_domus_events_sent_total", "ray_domus_work_bytes_total",
                 "ray_domus_events_received_total"):
        found = values(seen.metrics, name, "domain")
        assert set(found) == domains, name
        assert all(value > 0 for value in found.values()), name
    assert set(values(seen.metrics, "ray_domus_mips", "domain")) == domains
    for label in ("domain", "actor"):
        given = values(seen.metrics, "ray_domus_hand_overs_total", label)
        assert set(given) == {"ping", "pong"}, "the others share with nobody of another process"
        assert all(value > 0 for value in given.values())
