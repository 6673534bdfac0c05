"""kill -9 of a domain's actor: it is reported as crashed, and the others go on without it."""

import os
import signal
import threading
from contextlib import contextmanager, suppress

import pytest

import xenctrl
from abi.sched import SCHED_SHUTDOWN, SchedOp, ShutdownReason
from abi.xen import Hypercall

pytestmark = pytest.mark.ray


@contextmanager
def started(host):
    """Runs `host` meanwhile, and to its end."""
    failures = []

    def run():
        try:
            host.run(timeout=90)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    except BaseException:
        argument = SCHED_SHUTDOWN.at(64).pack(ShutdownReason.poweroff)  # do not wait for what went wrong
        with suppress(xenctrl.InterfaceError), xenctrl.interface_open(host) as handle:
            xenctrl.hypercall(handle, Hypercall.sched_op, SchedOp.shutdown, argument)
        raise
    finally:
        thread.join()
    assert failures == []


def wait_for_line(host, domain, text):
    """Wait until `domain` has printed `text`."""
    ticks = threading.Event()
    for _ in range(2000):
        if any(text in line for line in host._sink.consoles.get(domain, [])):
            return
        ticks.wait(0.02)
    raise AssertionError(f"{domain} never printed {text!r}: {host._sink.consoles}")


def kill(domain):
    """Kill the process of the actor that has its own domain's name, or its own."""
    import ray

    from toolstack.ray_names import NAMESPACE, domain_name

    actor = ray.get_actor(domain_name("host", domain), namespace=NAMESPACE)
    os.kill(ray.get(actor.__ray_call__.remote(lambda actor: __import__("os").getpid())), signal.SIGKILL)


@pytest.mark.parametrize("clock", ["virtual", "host"])
def test_the_survivors_finish(ray_host, configs, clock):
    host = ray_host(configs)
    host.configure(clock={"mode": clock}, expect={"victim": {"exit": "crash"}})
    host.domain("abuse/spin", name="victim", memory="16MiB")
    host.domain("abuse/spin", name="survivor", cmdline="for=3000", memory="16MiB")
    with started(host):
        wait_for_line(host, "victim", "busy")
        wait_for_line(host, "survivor", "busy")
        kill("victim")
    assert (host.report.outcome, host.failures) == ("finished", [])
    assert host.report.domains["survivor"].console[-1] == "spin: done"
    victim = host.report.domains["victim"]
    assert victim.console == ["spin: from now on this vCPU is busy"]
    assert "actor died" in victim.exit_detail


def test_who_shared_pages_with_it_is_let_go(ray_host, configs):
    host = ray_host(configs)
    host.configure(expect={"pong": {"exit": "crash"}, "ping": {"exit": "running"}})
    host.domain("pingpong", name="ping", cmdline="role=ping peer=${pong.domid} rounds=100000000 mode=block")
    host.domain("pingpong", name="pong", cmdline="role=pong peer=${ping.domid} mode=block")
    host.domain("abuse/spin", name="other", cmdline="for=3000", memory="16MiB")
    with started(host):
        wait_for_line(host, "other", "busy")
        kill("pong")
    assert host.report.outcome == "finished"
    assert host.report.domains["other"].exit == "poweroff"
    assert host.report.domains["pong"].exit == "crash"


def test_all_of_them_can_go(ray_host, configs):
    host = ray_host(configs)
    names = ["a", "b"]
    host.configure(expect={name: {"exit": "crash"} for name in names})
    for name in names:
        host.domain("abuse/spin", name=name, memory="16MiB")
    with started(host):
        for name in names:
            wait_for_line(host, name, "busy")
            kill(name)
    assert (host.report.outcome, host.failures) == ("finished", [])


def test_an_actor_takes_all_of_its_domains_with_it_and_no_other(ray_host, configs):
    host = ray_host(configs)
    lost = {"talker": {"exit": "crash"}, "idler": {"exit": "crash"}, "done": {"exit": "poweroff"}}
    host.configure(expect=lost)
    host.domain("abuse/spin", name="talker", memory="16MiB", placement={"actor": "box"})
    host.domain("abuse/spin", name="idler", memory="16MiB", placement={"actor": "box"})
    host.domain("abuse/spin", name="done", cmdline="for=1", memory="16MiB", placement={"actor": "box"})
    host.domain("abuse/spin", name="survivor", cmdline="for=3000", memory="16MiB")
    with started(host):
        wait_for_line(host, "done", "spin: done")
        wait_for_line(host, "survivor", "busy")
        kill("box")
    assert (host.report.outcome, host.failures) == ("finished", [])
    assert host.report.domains["survivor"].console[-1] == "spin: done"
    assert host.report.domains["done"].console[-1] == "spin: done"
    for name in ("talker", "idler"):
        assert host.report.domains[name].exit_detail == "the domain's actor died (box, with 2 others)"
