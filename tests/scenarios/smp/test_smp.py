"""Domains with several processors, of the kind that boots as PVH."""

import pytest
from going_on import facts, run
from moving import Nodes, wander

from guests.build import build_from
from toolstack import local
from toolstack.load import load
from toolstack.testing import Host


@pytest.fixture
def plan(configs):
    return load(str(configs / "smp.yaml")).plan()


def test_two_processors_do_all_that_the_configuration_expects(host, configs):
    both, = host.load(configs / "smp.yaml").values()
    assert host.run(timeout=30).outcome == "finished"
    assert host.failures == []
    assert [line for line in both.console if line.startswith("FAIL")] == []


def test_another_run_is_the_same_and_so_is_one_without_the_native_front(plan, monkeypatch):
    whole = run(plan)
    assert facts(run(plan)) == facts(whole)
    monkeypatch.setenv("DOMUS_FAST_PATH", "0")
    assert facts(run(plan)) == facts(whole)


@pytest.mark.ray
def test_actors_have_it_too(plan, ray_started):
    assert facts(run(plan, "ray")) == facts(run(plan))


def test_it_moves_from_node_to_node_and_does_not_notice(configs):
    digests = []
    for runtime in (local, Nodes(2, wander(1, [1], 2))):
        host = Host(runtime, configs)
        host.domain("smp", vcpus=2, cmdline="count=1000000 rounds=4000", memory="16MiB")
        report = host.run(timeout=120)
        assert host.failures == []
        digests.append(report.digest)
    assert report.migrations
    assert digests[0] == digests[1]


@pytest.mark.parametrize("clock", [{"mode": "host"}, {"frequency": "2.4GHz"}])
def test_they_work_together_whatever_the_clock(host, clock):
    host.configure(clock=clock)
    both = host.domain("smp", vcpus=2, cmdline="count=10000 rounds=100", memory="16MiB")
    host.run(timeout=60)
    assert both.console[-1] == "smp: 20 checks, 0 failed"


def test_a_domain_can_have_thirty_two_that_one_message_starts(host, request):
    guest = host.domain(build_from(request.path.parent / "many.c"), name="many", vcpus=32, cmdline="vcpus=32",
                        memory="16MiB")
    host.run(timeout=30)
    assert (guest.exit, host.failures) == ("poweroff", [])
    assert guest.console == ["62 counted, 62 down, 0 left, one more: -2"]


def test_a_report_says_which_of_them_it_was(host, request):
    host.configure(expect={"guest": {"exit": "reboot"}})
    guest = host.domain(build_from(request.path.parent / "crash_second.c"), name="guest", vcpus=2, type="hvm",
                        memory="16MiB")
    host.run(timeout=30)
    assert (guest.exit, host.failures) == ("reboot", [])
    assert guest.console == ["initialise: 0"]
    line, = [line for line in host.hypervisor_log if "triple fault" in line]
    assert "begun by #UD at vCPU 1, rip 0x" in line


def test_a_state_that_no_processor_takes_is_the_domains_end(host, request):
    host.configure(expect={"guest": {"exit": "crash"}})
    host.domain(build_from(request.path.parent / "crash_second.c"), name="guest", vcpus=2, cmdline="cr0=0x80000000",
                memory="16MiB")
    host.run(timeout=30)
    assert host.failures == []
    assert [line for line in host.hypervisor_log if "d1v1: CR0 has PG without PE" in line]


def test_others_share_pages_with_one_that_has_several(host):
    """Whose vCPUs beside the first have never begun."""
    writer = host.domain("writer", vcpus=3, cmdline="peer=${reader.domid}", memory="16MiB")
    reader = host.domain("reader", vcpus=2, type="hvm", cmdline="peer=${writer.domid}", memory="16MiB")
    host.run(timeout=30)
    assert host.failures == []
    assert "PASS the reader's answer: 16384 bytes, 0 wrong" in writer.console
    assert not [line for line in writer.console + reader.console if line.startswith("FAIL")]
