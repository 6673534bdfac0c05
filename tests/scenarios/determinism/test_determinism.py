"""Equal configurations, equal traces, byte for byte: run after run, and in either runtime."""

import pytest
from shipped import names

NAMES = names()


@pytest.fixture(scope="module")
def first_runs():
    """The reports of the first local run of each configuration."""
    return {}


def local_run(configs, name):
    from toolstack.runtime import load_runtime
    from toolstack.testing import Host

    host = Host(load_runtime("local"), configs)
    host.load(f"{name}.yaml")
    host.run(timeout=60)
    assert host.failures == []
    return host.report


def facts(report):
    return {name: (domain.digest, domain.exit, domain.virtual_time_ns, domain.work, domain.hypercalls,
                   domain.events_sent, domain.events_received, domain.grants_mapped, domain.console)
            for name, domain in report.domains.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_is_the_first_again(configs, name):
    first, second = local_run(configs, name), local_run(configs, name)
    assert facts(first) == facts(second)
    assert first.digest == second.digest


@pytest.mark.ray
@pytest.mark.parametrize("name", NAMES)
def test_ray_makes_no_difference(ray_host, configs, name):
    local = local_run(configs, name)
    host = ray_host(configs)
    host.load(f"{name}.yaml")
    report = host.run(timeout=120)
    assert host.failures == []
    assert facts(report) == facts(local)
    assert report.digest == local.digest


def pairs(host, placement):
    """Two pairs of ping-pong, and a domain on its own, in that `placement`."""
    host.configure(placement=placement)
    for n in range(2):
        for me, other in (("ping", "pong"), ("pong", "ping")):
            host.domain("pingpong", name=f"{me}{n}", memory="8MiB",
                        cmdline=f"role={me} peer=${{{other}{n}.domid}} rounds=300")
    host.domain("abuse/spin", name="alone", cmdline="for=20", memory="8MiB")


@pytest.mark.ray
def test_placement_makes_no_difference(ray_host, configs, host, tmp_path):
    pairs(host, {})
    host.run(trace=tmp_path / "local")
    packed = ray_host(configs)
    pairs(packed, {"domains_per_actor": 3})
    packed.run(timeout=120, trace=tmp_path / "packed")
    assert packed.failures == host.failures == []
    assert facts(packed.report) == facts(host.report)
    assert (tmp_path / "packed").read_bytes() == (tmp_path / "local").read_bytes()


def test_another_seed_is_told_in_the_report(configs, host):
    host.load(configs / "first_steps.yaml")
    assert (host.run(seed=5).seed, host.run(seed=6).seed) == (5, 6)


def test_the_kept_trace_is_the_same_file(configs, host, tmp_path):
    host.load(configs / "two_guests.yaml")
    for name in ("first", "second"):
        host.run(trace=tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
