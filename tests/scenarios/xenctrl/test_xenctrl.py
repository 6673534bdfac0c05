"""Domain 0's programs: hypercalls and facts from outside, while guests run, in both runtimes."""

import random
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import xenctrl
from abi.event_channel import EVTCHN_ALLOC_UNBOUND, EvtchnOp
from abi.sched import SCHED_REMOTE_SHUTDOWN, SCHED_SHUTDOWN, SchedOp, ShutdownReason
from abi.xen import Hypercall
from toolstack.runtime import load_runtime
from toolstack.testing import Host


@contextmanager
def running(host):
    """A handle to `host`, which runs meanwhile; what runs then still is powered off."""
    failures = []

    def run():
        try:
            host.run(timeout=60)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with xenctrl.interface_open(host, timeout=60) as handle:
            try:
                yield handle
            finally:
                with suppress(xenctrl.InterfaceError):
                    for domain in xenctrl.domain_getinfo(handle, first=1):
                        power_off(handle, domain.domid)
    finally:
        thread.join()
    assert failures == []


def power_off(handle, domid, reason=ShutdownReason.poweroff):
    argument = SCHED_REMOTE_SHUTDOWN.at(64).pack(domid, reason)
    assert xenctrl.hypercall(handle, Hypercall.sched_op, SchedOp.remote_shutdown, argument) == 0


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def busy(request, configs):
    """A host with two guests that never end."""
    if request.param == "ray":
        request.getfixturevalue("ray_started")
    host = Host(load_runtime(request.param), configs)
    host.configure(hypercalls=["hypercalls/greet.py"])
    host.domain("abuse/spin", name="first", memory="16MiB")
    host.domain("abuse/spin", name="second", memory="8MiB")
    return host


def test_what_domain_0_is_told(busy):
    with running(busy) as handle:
        version = xenctrl.version(handle)
        assert (version.major, version.minor, version.pagesize) == (4, 17, 4096)
        assert str(version) == "4.17.0"
        assert "xen-3.0-x86_64" in version.capabilities
        zero, first, second = xenctrl.domain_getinfo(handle)
        assert (zero.domid, zero.running, zero.hvm) == (0, True, False)
        assert (first.domid, first.running, first.shutdown, first.hvm) == (1, True, False, True)
        assert first.nr_online_vcpus == second.nr_online_vcpus == 1
        assert first.nr_pages >= 4096 > second.nr_pages >= 2048
        assert [domain.domid for domain in xenctrl.domain_getinfo(handle, first=1, max=1)] == [1]
        while xenctrl.domain_getinfo(handle, first=1, max=1)[0].cpu_time <= first.cpu_time:
            pass
        power_off(handle, 1, ShutdownReason.reboot)
        while any(domain.domid == 1 for domain in xenctrl.domain_getinfo(handle)):
            pass
        assert [domain.domid for domain in xenctrl.domain_getinfo(handle)] == [0, 2]
    exits = {name: domain.exit for name, domain in busy.report.domains.items()}
    assert exits == {"first": "reboot", "second": "poweroff"}


def test_buffers_go_there_and_back(busy):
    with running(busy) as handle:
        argument = EVTCHN_ALLOC_UNBOUND.at(64)
        buffer = bytearray(argument.pack(0, 1, 0))
        assert xenctrl.hypercall(handle, Hypercall.event_channel_op, EvtchnOp.alloc_unbound, buffer) == 0
        assert argument.unpack(buffer)[2] > 0
        with pytest.raises(OSError, match="EFAULT"):  # bytes are read-only
            xenctrl.hypercall(handle, Hypercall.event_channel_op, EvtchnOp.alloc_unbound, argument.pack(0, 1, 0))
        with pytest.raises(OSError, match="EFAULT"):
            xenctrl.hypercall(handle, Hypercall.event_channel_op, EvtchnOp.alloc_unbound, buffer[:3])
        with pytest.raises(OSError, match="ENOSYS") as raised:
            xenctrl.hypercall(handle, 63)
        assert raised.value.errno == 38
        with pytest.raises(OSError, match="ENOSYS"):
            xenctrl.hypercall(handle, 1 << 40)
        with pytest.raises(TypeError, match="expected integers"):
            xenctrl.hypercall(handle, 17, "text")
        with pytest.raises(TypeError, match="at most 6"):
            xenctrl.hypercall(handle, 17, 1, 2, 3, 4, 5, 6, 7)


def test_nothing_from_outside_harms_the_host(busy):
    drawn = random.Random(4711)
    with running(busy) as handle:
        for _ in range(150):
            number = drawn.randrange(64)
            arguments = [drawn.choice([0, 1, 2, drawn.randrange(64), drawn.randrange(1 << 64),
                                       bytearray(drawn.randbytes(drawn.randrange(1, 64)))]) for _ in range(5)]
            if number in (Hypercall.sched_op, Hypercall.sched_op_compat, Hypercall.domctl, Hypercall.platform_op):
                continue  # these may well stop domains, or the machine
            with suppress(OSError):
                xenctrl.hypercall(handle, number, *arguments)
        assert [domain.domid for domain in xenctrl.domain_getinfo(handle)] == [0, 1, 2]
    assert not [line for line in busy.hypervisor_log if "internal error" in line]


def test_the_end_of_domain_0_is_the_end_of_the_machine(busy):
    with running(busy) as handle:
        argument = SCHED_SHUTDOWN.at(64).pack(ShutdownReason.poweroff)
        xenctrl.hypercall(handle, Hypercall.sched_op, SchedOp.shutdown, argument)
        busy_until_then = iter(lambda: xenctrl.version(handle), None)
        with pytest.raises(xenctrl.InterfaceError, match="does not run any more"):
            list(busy_until_then)
    assert busy.report.outcome == "interrupted"


def test_a_handle_that_was_closed_is_closed(busy):
    with running(busy) as handle:
        with xenctrl.interface_open(busy) as other:
            xenctrl.version(other)
        with pytest.raises(xenctrl.InterfaceError, match="closed"):
            xenctrl.version(other)
        xenctrl.interface_close(other)
        assert xenctrl.version(handle).major == 4


def test_a_host_that_does_not_run_cannot_be_asked(host):
    host.domain("abuse/spin")
    with pytest.raises(xenctrl.InterfaceError, match="does not run"):
        xenctrl.interface_open(host)


def test_the_runs_own_thread_is_told_that_it_would_wait_for_itself(host):
    seen = []
    host.domain("first_steps")

    class Sink(type(host._sink)):
        def console_line(self, name, text):
            if not seen:
                try:
                    xenctrl.version(xenctrl.interface_open(host))
                except RuntimeError as error:
                    seen.append(str(error))

    if host._runtime is not load_runtime("local"):
        pytest.skip("only where the run is in this thread")
    from toolstack.runtime import RunOptions
    plan = host._configuration().plan()
    host._runtime.run(plan, RunOptions(timeout=30, started=host._started), Sink())
    assert "wait for ever" in seen[0]


@pytest.mark.ray
def test_a_host_on_ray_is_found_by_its_name(ray_started, configs):
    host = Host(load_runtime("ray"), configs)
    host.domain("abuse/spin", name="spin")
    with running(host) as handle, xenctrl.interface_open("host", timeout=30) as by_name:
        assert xenctrl.version(by_name) == xenctrl.version(handle)
        with pytest.raises(xenctrl.InterfaceError, match="no host named 'other' runs"):
            xenctrl.interface_open("other")


def test_the_module_imports_without_ray():
    import subprocess
    import sys

    code = "import sys, xenctrl; sys.exit('ray' in sys.modules or 'unicorn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
